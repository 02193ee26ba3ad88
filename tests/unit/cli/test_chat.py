"""`matrix chat`: the answer on stdout, figures on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from matrix_cli.commands.chat import figures
from matrix_cli.exits import Exit
from tests.unit.cli.runner import run
from tests.unit.client.replica import TOKEN, Replica, serving
from tests.unit.client.worlds import CHAT, LAB, World, ready


@pytest.fixture
def replica(world: World) -> Iterator[Replica]:
    world.client_token(LAB, TOKEN)
    with serving(Replica()) as replica:
        world.put(CHAT, ready(endpoints=[{"name": "openai", "url": replica.url, "scope": "Machine"}]))
        yield replica


def test_the_answer_goes_to_stdout_and_the_figures_to_stderr(world: World, replica: Replica) -> None:
    result = run(world, "chat", "chat", "hello")

    assert (result.exit_code, result.stdout) == (Exit.OK, "one two three\n")
    assert result.stderr.startswith("3 tokens in ")


def test_options_reach_the_model(world: World, replica: Replica) -> None:
    run(world, "chat", "chat", "-", "--system", "be brief", "--max-tokens", "9", "--temperature", "0", "--seed", "0", stdin="from a pipe")
    request = replica.requests[0]

    assert request["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "from a pipe"}]
    assert (request["max_tokens"], request["temperature"], request["seed"]) == (9, 0, 0)


def test_json_is_the_whole_answer_and_nothing_else(world: World, replica: Replica) -> None:
    result = run(world, "chat", "chat", "hello", "--json")

    assert json.loads(result.stdout)["choices"][0]["message"]["content"] == "one two three"
    assert result.stderr == ""


def test_a_refusal_is_one_line(world: World, replica: Replica) -> None:
    replica.status, replica.error = 400, {"error": {"message": "context is too long"}}
    result = run(world, "chat", "chat", "hello")

    assert (result.exit_code, result.stdout) == (Exit.FAILED, "")
    assert result.stderr == "error: the model refused the request (HTTP 400): context is too long\n"


def test_a_model_that_is_not_ready_or_does_not_exist(world: World) -> None:
    loading, unknown = run(world, "chat", "chat", "hello"), run(world, "chat", "chta", "hello")

    assert (loading.exit_code, unknown.exit_code) == (Exit.FAILED, Exit.NOT_FOUND)
    assert loading.stderr == ("error: ModelDeployment/chat is not ready (Loading): weights, 20 %; see `matrix why ModelDeployment/chat`\n")
    assert unknown.stderr == "error: no model 'chta'; did you mean 'chat'?\n"


@pytest.mark.parametrize(
    ("tokens", "first", "end", "text"),
    [
        (11, 1.0, 3.0, "11 tokens in 3.00 s, first after 1.00 s, 5.0 tokens/s"),
        (1, 1.0, 1.0, "1 tokens in 1.00 s, first after 1.00 s"),
        (0, 1.0, 1.0, "0 tokens in 1.00 s, first after 1.00 s"),
    ],
)
def test_the_speed_is_that_of_decoding(tokens: int, first: float, end: float, text: str) -> None:
    assert figures(tokens, 0.0, first, end) == text
