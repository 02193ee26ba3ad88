"""Chat: to a replica that is ready, to another one when it refuses, and errors in words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix_client import AsyncMatrix, ChatAnswer, ChatDelta, chat
from matrix_client.endpoints import Target
from matrix_client.errors import NotReady, Refused, RequestError, RequestTimeout, Unreachable
from matrix_client.http import Http
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from tests.unit.client.replica import TOKEN, Replica, serving
from tests.unit.client.worlds import CHAT, LAB, SPECS, World, new_world, ready


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = new_world(tmp_path)
    world.put(LAB, ready())
    world.client_token(LAB, TOKEN + "\n")
    return world


@pytest.fixture
def replica() -> Iterator[Replica]:
    with serving(Replica()) as replica:
        yield replica


def at(*urls: str) -> dict[str, Any]:
    return ready(endpoints=[{"name": "openai", "url": url, "scope": "Machine"} for url in urls])


def nobody() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def ask(world: World, model: str = "chat", text: Any = "hello", **params: Any) -> ChatAnswer:
    async def work() -> ChatAnswer:
        async with AsyncMatrix(home=world.home.root) as matrix:
            return await matrix.chat(model, text, **params)

    return asyncio.run(work())


def ask_for_a_stream(world: World, **params: Any) -> list[ChatDelta]:
    async def work() -> list[ChatDelta]:
        async with AsyncMatrix(home=world.home.root) as matrix:
            return [delta async for delta in await matrix.chat("chat", "hello", stream=True, **params)]

    return asyncio.run(work())


def test_a_text_becomes_a_user_message_and_params_go_as_given(world: World, replica: Replica) -> None:
    world.put(CHAT, at(replica.url))

    answer = ask(world, temperature=0, seed=0)

    assert (str(answer), answer.prompt_tokens, answer.completion_tokens) == ("one two three", 4, 3)
    assert replica.requests == [
        {
            "path": "/v1/chat/completions",
            "model": "chat",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0,
            "seed": 0,
        }
    ]


def test_messages_go_as_they_are_and_the_served_name_is_sent(world: World, replica: Replica) -> None:
    served = SPECS["ModelDeployment"] | {"model": {"source": "hf://org/model", "servedName": "org/Model-1"}}
    world.put(CHAT, at(replica.url), served)
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]

    ask(world, "org/Model-1", messages)
    ask(world, "chat", messages)

    assert [(request["model"], request["messages"]) for request in replica.requests] == [("org/Model-1", messages)] * 2


def test_a_stream_comes_in_pieces(world: World, replica: Replica) -> None:
    world.put(CHAT, at(replica.url))

    deltas = ask_for_a_stream(world)

    assert [delta.text for delta in deltas] == ["one", " two", " three", ""]
    assert deltas[-1].raw["usage"]["completion_tokens"] == 3


def test_a_replica_that_refuses_the_connection_is_passed_over(world: World, replica: Replica) -> None:
    world.put(CHAT, at(nobody(), replica.url))

    assert str(ask(world)) == "one two three"
    assert len(ask_for_a_stream(world)) == 4


def test_the_status_is_read_again_before_each_try(world: World, replica: Replica) -> None:
    world.put(CHAT, at(nobody()))

    async def work() -> str:
        async with AsyncMatrix(home=world.home.root) as matrix:
            asking = asyncio.create_task(matrix.chat("chat", "hello"))
            await asyncio.sleep(0)
            await asyncio.to_thread(world.put, CHAT, at(replica.url))
            return str(await asking)

    assert asyncio.run(work()) == "one two three"


def test_no_replica_within_the_deadline_is_unreachable() -> None:
    async def locate() -> Target:
        return Target(CHAT, "chat", (nobody(),), TOKEN)

    with pytest.raises(Unreachable, match="can't be reached"):
        asyncio.run(chat.complete(Http(), locate, chat.Question("hello", {}, timeout=5, patience=0.3)))


def test_a_stream_that_breaks_off_is_not_begun_again(world: World, replica: Replica) -> None:
    replica.breaks_after = 2
    world.put(CHAT, at(replica.url))

    with pytest.raises(Unreachable, match="broke off in the middle of the answer"):
        ask_for_a_stream(world)
    assert len(replica.requests) == 1


REFUSALS = [
    (
        400,
        {"error": {"message": "max_tokens must be\nat least 1"}},
        Refused,
        "refused the request .HTTP 400.: max_tokens must be at least 1",
    ),
    (404, {"object": "error", "message": "no such model"}, Refused, "no such model"),
    (422, "plain words", Refused, "plain words"),
    (500, {"error": {"message": "engine died"}}, RequestError, "failed with HTTP 500: engine died; see `matrix logs`"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), REFUSALS)
def test_what_the_replica_says_reaches_the_caller(
    world: World, replica: Replica, status: int, body: Any, kind: type[Exception], words: str
) -> None:
    replica.status, replica.error = status, body
    world.put(CHAT, at(replica.url))

    with pytest.raises(kind, match=words):
        ask(world)
    with pytest.raises(kind, match=words):
        ask_for_a_stream(world)


def test_a_replica_that_is_busy_ending_is_tried_again(world: World, replica: Replica) -> None:
    with serving(Replica(status=503, error={"error": {"message": "draining"}})) as draining:
        world.put(CHAT, at(draining.url, replica.url))

        assert str(ask(world)) == "one two three"


def test_a_wrong_token_is_told_as_such(world: World, replica: Replica) -> None:
    other = ObjectKey("MatrixCluster", "default", "other")
    world.put(other, ready())
    world.client_token(other, "old")
    world.put(CHAT, at(replica.url), SPECS["ModelDeployment"] | {"clusterRef": {"name": "other"}})

    with pytest.raises(Refused, match="refuses the cluster's client token"):
        ask(world)


def test_no_answer_in_time_is_a_time_out(world: World) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        world.put(CHAT, at(f"http://127.0.0.1:{silent.getsockname()[1]}/v1"))

        with pytest.raises(RequestTimeout, match=r"did not answer within 0.3 s"):
            ask(world, timeout=0.3)


def test_a_model_that_is_not_ready_says_why(world: World) -> None:
    world.put(CHAT, ready("False", "Loading", "weights, 20 %"))

    with pytest.raises(NotReady, match=r"ModelDeployment/chat is not ready \(Loading\): weights, 20 %"):
        ask(world)


def test_an_unknown_model_is_not_found_with_what_there_is(world: World, replica: Replica) -> None:
    with pytest.raises(NotFound, match="nor any other"):
        ask(world)
    world.put(CHAT, at(replica.url))
    with pytest.raises(NotFound, match="did you mean 'chat'"):
        ask(world, "chta")
    with pytest.raises(NotFound, match="there is chat"):
        ask(world, "gpt")


def test_proxies_of_the_environment_get_nothing(world: World, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", nobody())
    world.put(CHAT, at(replica.url))

    assert str(ask(world)) == "one two three"
