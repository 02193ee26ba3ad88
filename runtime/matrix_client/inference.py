"""Requests to models, straight to their replicas over gRPC. Tried elsewhere only as long as nothing of an answer has come."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import grpc.aio

from matrix_client.attempts import Attempts, Seat
from matrix_client.errors import BrokeOff, RequestTimeout
from matrix_client.refusals import told

Piece = TypeVar("Piece")
Build = Callable[[str], Any]
"""The request for a served name."""


async def whole(attempts: Attempts, method: str, build: Build) -> Any:
    """The one reply. `method` is that of Line. Raises NotFound, NotReady and RequestError."""
    while True:
        seat = await attempts.seat()
        try:
            call = getattr(seat.line, method)
            reply = await call(build(seat.served_name), timeout=attempts.left(), metadata=seat.metadata)
            if reply is None:
                raise BrokeOff(f"{seat.where} ended without an answer; see `matrix logs` of the model")
            return reply
        except grpc.aio.AioRpcError as error:
            failure = error
        finally:
            seat.release()
        await attempts.failed(seat, failure)


async def pieces(
    attempts: Attempts, method: str, build: Build, piece: Callable[[Any], Piece], silence: float | None
) -> AsyncGenerator[Piece, None]:
    """The replies as they come, each made a `piece`; raises as `whole` does, and BrokeOff in the middle.

    `silence`: the longest wait for the next reply, in seconds. Closing the generator cancels the call.
    """
    while True:
        seat = await attempts.seat()
        try:
            call = getattr(seat.line, method)(build(seat.served_name), metadata=seat.metadata)
        except BaseException:
            seat.release()
            raise
        replies, begun, guard = aiter(call), False, _SilenceGuard(call, silence)
        try:
            while True:
                guard.waits()
                try:
                    reply = await anext(replies)
                except StopAsyncIteration:
                    return
                guard.heard()
                begun = True
                yield piece(reply)
        except grpc.aio.AioRpcError as error:
            if begun:
                raise told(error, seat.where, begun=True) from error
            failure = error
        except asyncio.CancelledError:
            raise guard.meaning(seat) from None
        finally:
            guard.end()
            call.cancel()
            seat.release()
        await attempts.failed(seat, failure)


class _SilenceGuard:
    """Cancels a call after so many seconds of waiting. One timer for the whole stream, since one for each piece would cost as much."""

    def __init__(self, call: Any, seconds: float | None) -> None:
        self._call = call
        self._seconds = math.inf if seconds is None else seconds
        self._loop = asyncio.get_running_loop()
        self._since = math.inf
        """When the waiting began; inf while nobody waits."""
        self._fired = False
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._look)

    def waits(self) -> None:
        self._since = self._loop.time()

    def heard(self) -> None:
        self._since = math.inf

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def meaning(self, seat: Seat) -> BaseException:
        """What a cancellation means: a time-out if it is ours alone."""
        task = asyncio.current_task()
        if not self._fired or (task is not None and task.cancelling()):
            return asyncio.CancelledError()
        return RequestTimeout(f"{seat.where} said nothing for {self._seconds:g} s; allow more time, or see `matrix logs` of the model")

    def _look(self) -> None:
        left = self._since + self._seconds - self._loop.time()
        if left <= 0:
            self._fired = True
            self._call.cancel()
            return
        self._timer = self._loop.call_later(min(left, self._seconds), self._look)
