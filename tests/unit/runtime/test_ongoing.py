from __future__ import annotations

import asyncio

import pytest

from matrix_proto.errors import ErrorReason
from matrix_runtime.errors import ApiError
from matrix_runtime.ongoing import GRPC, HTTP, Ongoing, Request

DRAINING = ApiError(ErrorReason.DRAINING, "going")
DEAD = ApiError(ErrorReason.ENGINE_FAILED, "dead")


class Told:
    """What the metrics are told."""

    def __init__(self) -> None:
        self.begun: list[Request] = []
        self.ended: list[Request] = []


def make() -> tuple[Ongoing, Told]:
    told = Told()
    return Ongoing(told.begun.append, told.ended.append), told


def test_requests_count_until_they_end_and_are_refused_while_draining() -> None:
    async def run() -> None:
        ongoing, told = make()
        request = ongoing.begin("chat", GRPC)
        assert ongoing.count == 1 and told.begun == [request]
        ongoing.refusal = DRAINING
        with pytest.raises(ApiError) as caught:
            ongoing.begin("chat", GRPC)
        assert caught.value is DRAINING and ongoing.count == 1
        assert not await ongoing.idle(0.01)
        asyncio.get_running_loop().call_soon(ongoing.end, request)
        assert await ongoing.idle(10)
        assert ongoing.count == 0 and told.ended == [request]

    asyncio.run(run())


def test_what_is_ended_by_us_can_still_tell_its_caller_and_what_others_cancel_can_not() -> None:
    async def run() -> None:
        ongoing, _ = make()
        outcomes: list[object] = []

        async def answer() -> None:
            request = ongoing.begin("chat", HTTP)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                outcomes.append(ongoing.ended_by_us())
                if ongoing.ending is None:
                    raise
                await asyncio.sleep(0)  # it may go on
                outcomes.append("told")
            finally:
                ongoing.end(request)

        gone = asyncio.create_task(answer())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert outcomes == [None] and gone.cancelled()
        tasks = [asyncio.create_task(answer()) for _ in range(3)]
        await asyncio.sleep(0)
        ongoing.end_all(DEAD)
        assert await ongoing.idle(10)
        await asyncio.gather(*tasks)
        assert outcomes[1:].count(DEAD) == 3 and outcomes[1:].count("told") == 3
        with pytest.raises(ApiError):
            ongoing.begin("chat", HTTP)

    asyncio.run(run())
