"""Requests to models over real gRPC: to a replica that is there, to another one when it fails, and errors in words."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from matrix_client import AsyncMatrix, ChatAnswer, ChatDelta, CompleteAnswer, fleet, picker
from matrix_client.answers import Usage
from matrix_client.errors import (
    BrokeOff,
    ContextTooLong,
    NeedsUser,
    NotReady,
    RateLimited,
    Refused,
    RequestError,
    RequestTimeout,
    UnknownModel,
    Unreachable,
)
from matrix_client.picker import Wanted
from matrix_proto import directory_pb2
from matrix_proto.errors import ErrorReason
from matrix_store.errors import NotFound
from tests.unit.client.directory import TOKEN
from tests.unit.client.directory import replica as known
from tests.unit.client.labs import Lab, laboratory, until
from tests.unit.client.replica import Replica, endpoint
from tests.unit.client.worlds import CHAT, LAB, SPECS, World, new_world, ready


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = new_world(tmp_path)
    world.put(LAB)
    world.client_token(LAB, TOKEN + "\n")
    return world


Work = Callable[[Lab], Awaitable[Any]]


def in_lab(world: World, work: Work, replicas: int = 1) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(120), laboratory(world, replicas) as lab:
            return await work(lab)

    return asyncio.run(run())


async def streamed(lab: Lab, **params: Any) -> list[ChatDelta]:
    return [delta async for delta in await lab.matrix.chat("chat", "hello", stream=True, **params)]


async def ask_both(lab: Lab, **params: Any) -> None:
    """Once whole and once as a stream; both must bring the whole answer."""
    assert str(await lab.matrix.chat("chat", "hello", **params)) == "one two three"
    assert "".join(delta.text for delta in await streamed(lab, **params)) == "one two three"


async def both_raise(lab: Lab, kind: type[Exception], words: str, **params: Any) -> Exception:
    with pytest.raises(kind, match=words):
        await streamed(lab, **params)
    with pytest.raises(kind, match=words) as raised:
        await lab.matrix.chat("chat", "hello", **params)
    return raised.value


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
        await lab.matrix.chat("org/Model-1", messages)
        await lab.matrix.chat("chat", messages)
        assert [(request["model"], request["messages"]) for request in lab.replicas[0].requests] == [("org/Model-1", messages)] * 2

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


def test_the_deadline_ends_a_request_and_reaches_the_replica(world: World) -> None:
    async def work(lab: Lab) -> None:
        lab.replicas[0].held = asyncio.Event()
        with pytest.raises(RequestTimeout, match=r"did not answer within 0.5 s"):
            await lab.matrix.chat("chat", "hello", timeout=0.5)
        await until(lambda: lab.replicas[0].cancelled == 1)

    in_lab(world, work)


def test_the_timeout_of_a_stream_is_its_longest_silence(world: World) -> None:
    async def work(lab: Lab) -> None:
        (replica,) = lab.replicas
        replica.words, replica.delay = ("w",) * 10, 0.1
        assert len(await streamed(lab, timeout=0.8)) == 11, "a stream may take longer than its timeout as long as it goes on"
        replica.delay, replica.held = 0, asyncio.Event()
        with pytest.raises(RequestTimeout, match=r"said nothing for 0.3 s"):
            await streamed(lab, timeout=0.3)
        await until(lambda: replica.cancelled == 1)

    in_lab(world, work)


def test_the_timeout_of_a_stream_bounds_the_wait_for_a_replica_too(world: World) -> None:
    async def work(lab: Lab) -> None:
        with pytest.raises(RequestTimeout, match=r"no replica of chat took the request within 0.5 s"):
            await streamed(lab, timeout=0.5)

    in_lab(world, work, replicas=0)


def test_what_is_not_json_is_refused_and_holds_no_replica(world: World) -> None:
    async def work(lab: Lab) -> None:
        await both_raise(lab, TypeError, "not JSON serializable", logit_bias=object())
        (route,) = lab.matrix._requests()._routes._routes.values()
        assert route.fleet is not None
        candidate = route.fleet.picker.pick(Wanted(route.target.application))
        assert candidate is not None and candidate.reserved == 1
        assert lab.asked == [0]

    in_lab(world, work)


def test_a_slow_reader_is_no_silence(world: World) -> None:
    async def work(lab: Lab) -> None:
        seen = []
        async for delta in await lab.matrix.chat("chat", "hello", stream=True, timeout=0.5):
            seen.append(delta.text)
            if len(seen) == 1:
                await asyncio.sleep(1.2)
        assert seen == ["one", " two", " three", ""]

    in_lab(world, work)


def test_cancelling_reaches_the_replica(world: World) -> None:
    async def work(lab: Lab) -> None:
        (replica,) = lab.replicas
        replica.held = asyncio.Event()
        asking = asyncio.create_task(lab.matrix.chat("chat", "hello"))
        await until(lambda: replica.open == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: replica.cancelled == 1)
        reading = asyncio.create_task(streamed(lab))
        await until(lambda: replica.open == 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: replica.cancelled == 2)

    in_lab(world, work)


def test_closing_the_iteration_cancels_the_call(world: World) -> None:
    async def work(lab: Lab) -> None:
        (replica,) = lab.replicas
        replica.held = asyncio.Event()
        stream = await lab.matrix.chat("chat", "hello", stream=True)
        assert str(await anext(stream)) == "one"
        await stream.aclose()
        await until(lambda: replica.cancelled == 1)
        assert lab.matrix._inference is not None
        ((_, fleet),) = lab.matrix._inference._routes._fleets.values()
        assert [candidate.reserved for candidate in fleet.picker._candidates.values()] == [0]

    in_lab(world, work)


def test_replicas_come_and_go_while_requests_run(world: World) -> None:
    async def work(lab: Lab) -> None:
        old = lab.replicas[0]
        old.held = asyncio.Event()
        stream = await lab.matrix.chat("chat", "hello", stream=True)
        assert str(await anext(stream)) == "one"
        new = await lab.add()
        lab.tell(old, state=directory_pb2.Replica.DRAINING)
        await until(lambda: _states(lab) == {"r0": "Draining", "r1": "Ready"})
        for _ in range(5):
            await ask_both(lab)
        lab.directory.remove("r0")
        await until(lambda: set(_states(lab)) == {"r1"})
        assert (len(old.requests), len(new.requests)) == (1, 10)
        old.held.set()
        assert [delta.text async for delta in stream] == [" two", " three", ""], "what was under way comes to its end"
        assert set(_lines(lab)) == {"r1"}, "and then the connection is let go"

    in_lab(world, work)


def _states(lab: Lab) -> dict[str, str]:
    assert lab.matrix._inference is not None
    ((_, fleet),) = lab.matrix._inference._routes._fleets.values()
    return {id_: str(replica.state) for id_, replica in fleet.watch.replicas.items()}


def _lines(lab: Lab) -> Any:
    assert lab.matrix._inference is not None
    ((_, fleet),) = lab.matrix._inference._routes._fleets.values()
    return fleet._lines


def test_without_the_directory_it_goes_on_and_with_it_again_it_learns(world: World) -> None:
    async def work(lab: Lab) -> None:
        await ask_both(lab)
        await lab.directory.stop()
        for _ in range(3):
            await ask_both(lab)
        new = await lab.add(seen=False)
        lab.directory.replicas.clear()
        lab.tell(new)
        await lab.directory.start()
        await until(lambda: set(_states(lab)) == {"r1"})
        await ask_both(lab)
        assert lab.asked == [8, 2]

    in_lab(world, work)


def test_a_probe_takes_no_longer_than_the_request_may(world: World) -> None:
    async def work(lab: Lab) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            lab.directory.put(known("mute", f"127.0.0.1:{mute.getsockname()[1]}", suspect=True))
            begun = time.monotonic()
            with pytest.raises(RequestTimeout, match=r"no answer within 0.3 s; the last try: .* gives no sign of life"):
                await lab.matrix.chat("chat", "hello", timeout=0.3)
            assert time.monotonic() - begun < fleet.PROBE_SECONDS

    in_lab(world, work, replicas=0)


def test_a_suspect_replica_is_probed_first_and_used_only_if_there_is_no_other(world: World) -> None:
    async def work(lab: Lab) -> None:
        suspect = await lab.add(suspect=True)
        await ask_both(lab)
        assert (len(suspect.requests), suspect.probes) == (1 * 2, 1)
        sound = await lab.add()
        await until(lambda: len(_states(lab)) == 2)
        for _ in range(5):
            await ask_both(lab)
        assert (len(suspect.requests), len(sound.requests)) == (2, 10)
        await suspect.stop()
        lab.directory.remove("r1")
        await until(lambda: len(_states(lab)) == 1)
        await both_raise(lab, Unreachable, "gives no sign of life", patience=0.1)

    in_lab(world, work, replicas=0)


def test_requests_wait_for_a_first_replica(world: World) -> None:
    async def work(lab: Lab) -> None:
        asking = [asyncio.create_task(ask_both(lab)) for _ in range(20)]
        await until(lambda: lab.matrix._inference is not None and lab.directory.watchers == 1)
        await lab.add()
        await asyncio.gather(*asking)
        assert lab.asked == [40]

    in_lab(world, work, replicas=0)


def test_giving_up_says_what_was_waited_for(world: World) -> None:
    async def work(lab: Lab) -> None:
        await asyncio.to_thread(world.put, CHAT, ready("False", "Loading", "weights, 20 %"))
        words = r"ModelDeployment/chat is not ready \(Loading\): weights, 20 %; see `matrix why ModelDeployment/chat`"
        error = await both_raise(lab, NotReady, words, patience=0.2)
        assert not isinstance(error, NeedsUser)
        with pytest.raises(RequestTimeout, match=r"no replica of chat took the request within 0.2 s: weights, 20 %"):
            await lab.matrix.chat("chat", "hello", timeout=0.2)

    in_lab(world, work, replicas=0)


def test_what_only_the_user_can_change_is_not_waited_for(world: World) -> None:
    async def work(lab: Lab) -> None:
        await asyncio.to_thread(world.put, CHAT, ready("False", "ModelNotFound", "no such repository"))
        await both_raise(lab, NeedsUser, "no such repository")

    in_lab(world, work, replicas=0)


def test_a_model_scaled_to_zero_is_not_waited_for_and_is_found_when_it_is_scaled_up(world: World) -> None:
    async def work(lab: Lab) -> None:
        none = SPECS["ModelDeployment"] | {"replicas": 0}
        await asyncio.to_thread(world.put, CHAT, ready(), none)
        await both_raise(lab, NotReady, r"scaled to zero; `matrix scale ModelDeployment/chat --replicas 1`")
        await asyncio.to_thread(world.put, CHAT, ready(), SPECS["ModelDeployment"])
        asking = asyncio.create_task(ask_both(lab))
        await asyncio.sleep(0.2)
        assert not asking.done(), "what was known of the deployment is not taken for what is"
        await lab.add()
        await asking

    in_lab(world, work, replicas=0)


def test_while_a_request_waits_it_says_what_for(world: World) -> None:
    told: list[str] = []

    async def work(lab: Lab) -> None:
        await asyncio.to_thread(world.put, CHAT, ready("False", "Loading", "weights, 20 %"))
        async with AsyncMatrix(home=world.home.root, on_wait=told.append) as matrix:
            with pytest.raises(NotReady):
                await matrix.chat("chat", "hello", patience=3)
        assert told and set(told) == {"weights, 20 %; see `matrix why ModelDeployment/chat`"}

    in_lab(world, work, replicas=0)


def test_a_cluster_that_comes_up_is_noticed(world: World) -> None:
    async def work(lab: Lab) -> None:
        status = endpoint(lab.directory)
        await asyncio.to_thread(world.put, LAB, ready("False", "Starting"))
        asking = asyncio.create_task(ask_both(lab))
        await asyncio.sleep(0.2)
        assert not asking.done()
        await asyncio.to_thread(world.put, LAB, status)
        await asking

    in_lab(world, work)


def test_a_directory_that_cannot_be_reached_is_named(world: World) -> None:
    async def work(lab: Lab) -> None:
        await lab.directory.stop()
        await both_raise(lab, NotReady, "the directory at 127.0.0.1:.* can't be reached", patience=0)

    in_lab(world, work)


def test_a_cluster_made_anew_is_followed(world: World) -> None:
    async def work(lab: Lab) -> None:
        await ask_both(lab)
        await lab.directory.stop()
        await lab.replicas[0].stop()

        def again() -> None:
            world.delete(LAB)
            world.put(LAB)
            world.client_token(LAB, "second")

        await asyncio.to_thread(again)
        other = Replica("other")
        other.token = "second"
        await lab.stack.enter_async_context(other)
        lab.replicas.append(other)
        lab.directory.token = "second"
        lab.directory.address = "127.0.0.1:0"
        lab.directory.replicas.clear()
        await lab.directory.start()
        lab.tell(other)
        await asyncio.to_thread(world.put, LAB, endpoint(lab.directory))
        await ask_both(lab)
        assert len(other.requests) == 2

    in_lab(world, work)


def test_an_unknown_model_is_not_found_with_what_there_is(world: World) -> None:
    async def work(lab: Lab) -> None:
        with pytest.raises(NotFound, match="did you mean 'chat'"):
            await lab.matrix.chat("chta", "hello")
        with pytest.raises(NotFound, match="there is chat"):
            await lab.matrix.chat("gpt", "hello")
        await asyncio.to_thread(world.delete, CHAT)
        with pytest.raises(NotFound, match="nor any other"):
            await lab.matrix.chat("chat", "hello")

    in_lab(world, work)


def test_the_store_is_read_once_for_many_requests(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    async def work(lab: Lab) -> None:
        store = await lab.matrix.context.store()
        list_ = store.list

        async def counted(kind: str, namespace: str | None = None) -> Any:
            looks.append(kind)
            return await list_(kind, namespace)

        monkeypatch.setattr(store, "list", counted)
        await asyncio.gather(*(ask_both(lab) for _ in range(50)))
        await asyncio.sleep(1.1)
        await asyncio.gather(*(ask_both(lab) for _ in range(50)))

    in_lab(world, work)
    assert looks == ["ModelDeployment"]


def test_two_thousand_at_once(world: World) -> None:
    async def work(lab: Lab) -> None:
        for replica in lab.replicas:
            replica.held = asyncio.Event()
        asking = [asyncio.create_task(lab.matrix.chat("chat", "hello")) for _ in range(2000)]
        await until(lambda: sum(replica.open for replica in lab.replicas) == 2000)
        assert all(450 <= replica.most_open <= 550 for replica in lab.replicas), lab.asked
        for replica in lab.replicas:
            assert replica.held is not None
            replica.held.set()
        assert {str(answer) for answer in await asyncio.gather(*asking)} == {"one two three"}
        assert len(_lines(lab)) == 4

    in_lab(world, work, replicas=4)


def test_a_frozen_host_is_a_time_out(world: World) -> None:
    async def work(lab: Lab) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            frozen = Replica("frozen")
            frozen.address = f"127.0.0.1:{silent.getsockname()[1]}"
            lab.tell(frozen)
            with pytest.raises((RequestTimeout, Unreachable)):
                await lab.matrix.chat("chat", "hello", timeout=0.5)
            with pytest.raises((RequestTimeout, Unreachable)):
                await streamed(lab, timeout=0.5, patience=0.5)

    in_lab(world, work, replicas=0)


def test_proxies_of_the_environment_get_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    in_lab(world, ask_both)


def test_distrust_passes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picker, "DISTRUST_SECONDS", 0.3)

    async def work(lab: Lab) -> None:
        bad = lab.replicas[0]
        await bad.stop()
        for _ in range(5):
            await ask_both(lab)
        await bad.start()
        await asyncio.sleep(0.4)
        await asyncio.gather(*(ask_both(lab) for _ in range(20)))
        assert bad.requests

    in_lab(world, work, replicas=2)
