"""`matrix chat MODEL TEXT`: the answer on stdout, figures on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from matrix_cli.exits import Exit
from matrix_proto.errors import ErrorReason
from tests.unit.cli.runner import run
from tests.unit.client.replica import TOKEN, Replica, serving
from tests.unit.client.worlds import LAB, World


@pytest.fixture
def replica(world: World) -> Iterator[Replica]:
    world.client_token(LAB, TOKEN)
    with serving(world, Replica()) as replica:
        yield replica


def test_the_answer_goes_to_stdout_and_the_figures_to_stderr(world: World, replica: Replica) -> None:
    result = run(world, "chat", "chat", "hello")

    assert (result.exit_code, result.stdout) == (Exit.OK, "one two three\n")
    assert result.stderr.startswith("3 tokens in ")


@pytest.mark.parametrize("words", [("-",), ()])
def test_options_reach_the_model(world: World, replica: Replica, words: tuple[str, ...]) -> None:
    run(
        world, "chat", "chat", *words, "--system", "be brief", "--max-tokens", "9", "--temperature", "0", "--seed", "0", stdin="from a pipe"
    )
    request = replica.requests[0]

    assert [(message["role"], message["content"]) for message in request["messages"]] == [("system", "be brief"), ("user", "from a pipe")]
    assert (request["max_tokens"], request["temperature"], request["seed"]) == (9, 0, 0)


def test_json_is_the_whole_answer_and_nothing_else(world: World, replica: Replica) -> None:
    result = run(world, "chat", "chat", "hello", "--json")

    assert json.loads(result.stdout)["choices"][0]["message"]["content"] == "one two three"
    assert result.stderr == ""


def test_a_refusal_is_one_line(world: World, replica: Replica) -> None:
    replica.always = (ErrorReason.BAD_REQUEST, "temperature must be at least 0")
    result = run(world, "chat", "chat", "hello")

    assert (result.exit_code, result.stdout) == (Exit.FAILED, "")
    assert "temperature must be at least 0" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_nothing_to_ask(world: World) -> None:
    for words in (("chat", ""), ("chat", "-"), ("chat",)):
        result = run(world, "chat", *words, stdin=" \n")
        assert (result.exit_code, len(result.stderr.splitlines())) == (Exit.INVALID, 1)
        assert "there is nothing to ask" in result.stderr


def test_a_model_that_does_not_exist(world: World) -> None:
    result = run(world, "chat", "chta", "hello")

    assert (result.exit_code, result.stderr) == (Exit.NOT_FOUND, "error: no model 'chta'; did you mean 'chat'?\n")
