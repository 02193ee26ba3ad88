"""Requests to models over real gRPC: to a replica that is there, to another one when it fails, and errors in words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from matrix_client import ChatAnswer, CompleteAnswer
from matrix_client.answers import Usage
from matrix_client.errors import (
    BrokeOff,
    ContextTooLong,
    NotReady,
    RateLimited,
    Refused,
    RequestError,
    UnknownModel,
)
from matrix_crds.keys import ObjectKey
from matrix_proto.errors import ErrorReason
from tests.unit.client.labs import Lab, ask_both, both_raise, in_lab, streamed
from tests.unit.client.worlds import CHAT, LAB, SPECS, World, condition, ready


def test_a_text_becomes_a_user_message_and_zeroes_arrive(world: World) -> None:
    async def work(lab: Lab) -> ChatAnswer:
        return await lab.matrix.chat("chat", "hello", temperature=0, seed=0)

    async def all_of_it(lab: Lab) -> None:
        answer = await work(lab)
        assert (str(answer), answer.prompt_tokens, answer.completion_tokens, answer.finish_reason) == ("one two three", 4, 3, "stop")
        assert answer.raw["choices"][0]["message"]["content"] == "one two three"
        assert lab.replicas[0].requests == [
            {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "seed": 0}
        ]

    in_lab(world, all_of_it)


def test_what_has_no_typed_field_arrives_too(world: World) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]

    async def work(lab: Lab) -> None:
        await lab.matrix.chat("chat", "hello", tools=tools, logprobs=True, top_p=0.5, stop="x", extra_body={"min_p": 0.1, "top_p": 0.25})

    async def all_of_it(lab: Lab) -> None:
        await work(lab)
        body = lab.replicas[0].requests[0]
        assert body.pop("messages") and body.pop("model") == "chat"
        assert body == {"tools": tools, "logprobs": True, "top_p": 0.25, "stop": ["x"], "min_p": 0.1}

    in_lab(world, all_of_it)


def test_messages_go_as_they_are_and_the_served_name_is_sent(world: World) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
    ]

    async def work(lab: Lab) -> None:
        served = SPECS["ModelDeployment"] | {"model": {"source": "hf://org/model", "servedName": "org/Model-1"}}
        await asyncio.to_thread(world.put, CHAT, ready(), served)
        lab.tell(lab.replicas[0], model="org/Model-1")
        await lab.matrix.chat("org/Model-1", messages)
        await lab.matrix.chat("chat", messages)
        assert [(request["model"], request["messages"]) for request in lab.replicas[0].requests] == [("org/Model-1", messages)] * 2

    in_lab(world, work)


def named(name: str) -> dict[str, Any]:
    """A deployment's spec with that servedName."""
    return SPECS["ModelDeployment"] | {"model": {"source": "hf://org/model", "servedName": name}}


def test_what_is_asked_by_the_deployments_own_name_takes_a_replica_with_the_former_one(world: World) -> None:
    """While a change of the served name is rolled out it would not know the new one."""

    async def work(lab: Lab) -> None:
        await asyncio.to_thread(world.put, CHAT, ready(), named("new"))
        await lab.matrix.chat("chat", "hello")
        assert [request["model"] for request in lab.replicas[0].requests] == ["chat"]

    in_lab(world, work)


def test_what_is_asked_under_a_served_name_waits_for_a_replica_that_serves_it(world: World) -> None:
    """The former ones may run another model: the same edit may have changed the source."""

    async def work(lab: Lab) -> None:
        rolling = ready(model="new", conditions=[condition("Ready", "True", "Ready", generation=2)])
        await asyncio.to_thread(world.put, CHAT, rolling, named("new"))
        await both_raise(lab, NotReady, "no replica serves the name 'new' yet; see `matrix why", model="new", patience=0.2)
        asking = asyncio.create_task(lab.matrix.chat("new", "hello"))
        await lab.add(model="new")
        await asking
        assert [[request["model"] for request in replica.requests] for replica in lab.replicas] == [[], ["new"]]

    in_lab(world, work)


def test_of_two_that_want_a_name_the_one_that_has_it_is_asked(world: World) -> None:
    late = ObjectKey("ModelDeployment", "default", "aa")
    answers = {"endpoints": [{"name": "openai", "url": "http://a/v1"}]}

    async def work(lab: Lab) -> None:
        await asyncio.to_thread(world.put, CHAT, ready(model="chat", **answers))
        await asyncio.to_thread(world.put, late, ready("False", "NameTaken", "it is taken", model="small", **answers), named("chat"))
        await lab.add(application="mx-md-aa", model="small")
        for asked in ("chat", "small", "aa"):
            await lab.matrix.chat(asked, "hello")
        assert [[request["model"] for request in replica.requests] for replica in lab.replicas] == [["chat"], ["small", "small"]]

    in_lab(world, work)


def test_a_stream_comes_in_pieces(world: World) -> None:
    async def work(lab: Lab) -> None:
        deltas = await streamed(lab)
        assert [delta.text for delta in deltas] == ["one", " two", " three", ""]
        assert [delta.usage for delta in deltas] == [None, None, None, Usage(4, 3)]
        assert deltas[1].raw["choices"][0]["delta"]["content"] == " two"

    in_lab(world, work)


def test_a_completion_whole_and_as_a_stream(world: World) -> None:
    async def work(lab: Lab) -> None:
        answer = await lab.matrix.complete("chat", "once", max_tokens=3)
        pieces = [piece.text async for piece in await lab.matrix.complete("chat", ["a", "b"], stream=True)]
        assert isinstance(answer, CompleteAnswer)
        assert (answer.text, answer.usage, "".join(pieces)) == ("one two three", Usage(4, 3), "one two three")
        assert lab.replicas[0].requests == [
            {"model": "chat", "prompt": "once", "max_tokens": 3},
            {"model": "chat", "prompt": ["a", "b"]},
        ]

    in_lab(world, work)


def test_embeddings_come_in_the_order_of_the_input(world: World) -> None:
    async def work(lab: Lab) -> None:
        answer = await lab.matrix.embed("chat", ["a", "four"], dimensions=2)
        assert answer.vectors == [[1.0, 0.5], [4.0, 0.5]]
        assert answer.usage == Usage(2, 0)
        assert answer.raw["data"][1] == {"object": "embedding", "index": 1, "embedding": [4.0, 0.5]}
        assert lab.replicas[0].requests == [{"model": "chat", "input": ["a", "four"], "dimensions": 2}]

    in_lab(world, work)


RETRYABLE = [ErrorReason.DRAINING, ErrorReason.NOT_READY, ErrorReason.RATE_LIMITED, ErrorReason.ENGINE_FAILED]


@pytest.mark.parametrize("reason", RETRYABLE)
def test_what_one_replica_refuses_another_answers(world: World, reason: ErrorReason) -> None:
    async def work(lab: Lab) -> None:
        bad, good = lab.replicas
        bad.always = (reason, "not now")
        for _ in range(6):
            await ask_both(lab)
        assert bad.requests, "it was never asked, so nothing was seen of a retry"
        assert len(good.requests) == 12
        assert set(bad.attempts) == {1}
        assert set(good.attempts) == {1, 2}

    in_lab(world, work, replicas=2)


def test_a_replica_that_does_not_listen_is_passed_over(world: World) -> None:
    async def work(lab: Lab) -> None:
        await lab.replicas[0].stop()
        for _ in range(10):
            await ask_both(lab)
        assert lab.asked == [0, 20]

    in_lab(world, work, replicas=2)


def test_without_patience_there_is_one_other_try(world: World) -> None:
    async def work(lab: Lab) -> None:
        await lab.replicas[0].stop()
        for _ in range(5):
            await ask_both(lab, patience=0)
        lab.replicas[1].always = (ErrorReason.RATE_LIMITED, "full")
        before = lab.asked[1]
        await both_raise(lab, RequestError, ".", patience=0)
        assert lab.asked[1] - before <= 4

    in_lab(world, work, replicas=2)


def test_an_answer_that_breaks_before_its_first_piece_is_asked_for_elsewhere(world: World) -> None:
    async def work(lab: Lab) -> None:
        lab.replicas[0].breaks_after = 0
        for _ in range(6):
            await ask_both(lab)
        assert lab.asked[0] and lab.asked[1] == 12

    in_lab(world, work, replicas=2)


def test_a_stream_that_has_begun_is_never_begun_again(world: World) -> None:
    async def work(lab: Lab) -> None:
        for replica in lab.replicas:
            replica.breaks_after = 2
        stream = await lab.matrix.chat("chat", "hello", stream=True)
        seen = [str(await anext(stream)), str(await anext(stream))]
        with pytest.raises(BrokeOff, match="broke off in the middle of the answer") as raised:
            await anext(stream)
        assert (seen, sum(lab.asked), raised.value.retryable) == (["one", " two"], 1, True)

    in_lab(world, work, replicas=2)


def test_a_server_that_ends_and_an_engine_that_dies_in_mid_stream_break_off(world: World) -> None:
    async def work(lab: Lab) -> None:
        (replica,) = lab.replicas
        replica.ends_after = 1
        with pytest.raises(BrokeOff, match="the engine died"):
            await streamed(lab)
        replica.ends_after, replica.held = None, asyncio.Event()
        stream = await lab.matrix.chat("chat", "hello", stream=True)
        assert str(await anext(stream)) == "one"
        await replica.stop()
        with pytest.raises(BrokeOff):
            await anext(stream)

    in_lab(world, work)


def test_a_request_that_brings_replicas_down_is_not_carried_to_all_of_them(world: World) -> None:
    async def work(lab: Lab) -> None:
        for replica in lab.replicas:
            replica.breaks_after = 0
        with pytest.raises(BrokeOff):
            await lab.matrix.chat("chat", "hello")
        assert sorted(lab.asked) == [0, 0, 1, 1, 1]

    in_lab(world, work, replicas=5)


CALLERS = [
    (ErrorReason.BAD_REQUEST, Refused, "max_tokens must be at least 1"),
    (ErrorReason.CONTEXT_TOO_LONG, ContextTooLong, "the prompt has 9000 tokens"),
    (ErrorReason.NOT_OFFERED, Refused, "this model makes no embeddings"),
    (ErrorReason.UNKNOWN_MODEL, UnknownModel, "no such model"),
]


@pytest.mark.parametrize(("reason", "kind", "words"), CALLERS)
def test_the_callers_mistake_is_told_at_once_and_not_tried_again(
    world: World, reason: ErrorReason, kind: type[Refused], words: str
) -> None:
    async def work(lab: Lab) -> None:
        await lab.matrix.chat("chat", "hello")
        for replica in lab.replicas:
            replica.requests.clear()
            replica.always = (reason, words)
        error = await both_raise(lab, kind, words)
        assert isinstance(error, RequestError)
        assert (error.reason, error.retryable) == (reason, False)
        assert sum(lab.asked) == 2

    in_lab(world, work, replicas=2)


def test_what_stays_refused_is_raised_when_patience_ends(world: World) -> None:
    async def work(lab: Lab) -> None:
        for replica in lab.replicas:
            replica.always = (ErrorReason.RATE_LIMITED, "queue is full")
        error = await both_raise(lab, RateLimited, "takes no more requests for now: queue is full", patience=0.2)
        assert isinstance(error, RateLimited) and error.retryable
        assert all(count > 1 for count in lab.asked)

    in_lab(world, work, replicas=2)


def test_a_wrong_token_is_told_as_such(world: World) -> None:
    async def work(lab: Lab) -> None:
        lab.replicas[0].token = "another"
        await both_raise(lab, Refused, "refuses the cluster's client token: wrong token")
        assert lab.asked == [2]

    in_lab(world, work)


def test_a_token_that_was_changed_is_read_again(world: World) -> None:
    async def work(lab: Lab) -> None:
        await ask_both(lab)
        lab.replicas[0].token = "new"
        stored = world.find(LAB)
        assert stored is not None
        (world.home.cluster(stored.uid) / "secrets" / "client-token").write_text("new\n")
        await ask_both(lab)
        assert lab.replicas[0].attempts == [1, 1, 1, 2, 1]

    in_lab(world, work)
