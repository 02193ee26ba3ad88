"""Deadlines, silence and cancelling of requests over real gRPC."""

from __future__ import annotations

import asyncio

import pytest

from matrix_client.errors import (
    RequestTimeout,
)
from matrix_client.picker import Wanted
from tests.unit.client.labs import Lab, both_raise, in_lab, streamed
from tests.unit.client.worlds import World
from tests.waiting import until


def test_the_deadline_ends_a_request_and_reaches_the_replica(world: World) -> None:
    async def work(lab: Lab) -> None:
        lab.replicas[0].held = asyncio.Event()
        with pytest.raises(RequestTimeout, match=r"did not answer within 2 s"):
            await lab.matrix.chat("chat", "hello", timeout=2)
        await until(lambda: lab.replicas[0].cancelled == 1)

    in_lab(world, work)


def test_the_timeout_of_a_stream_is_its_longest_silence(world: World) -> None:
    async def work(lab: Lab) -> None:
        (replica,) = lab.replicas
        replica.words, replica.delay = ("w",) * 10, 0.3
        assert len(await streamed(lab, timeout=2.5)) == 11, "a stream may take longer than its timeout as long as it goes on"
        replica.delay, replica.held = 0, asyncio.Event()
        with pytest.raises(RequestTimeout, match=r"said nothing for 1 s"):
            await streamed(lab, timeout=1)
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
        async for delta in await lab.matrix.chat("chat", "hello", stream=True, timeout=1.5):
            seen.append(delta.text)
            if len(seen) == 1:
                await asyncio.sleep(2.5)
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
