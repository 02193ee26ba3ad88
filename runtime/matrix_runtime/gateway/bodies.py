"""Reads whole bodies into memory, each within a limit and all together within another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from matrix_proto.errors import ErrorReason
from matrix_runtime.gateway import limits, words
from matrix_runtime.gateway.refusals import Refusal


class Refused(Exception):
    """The request is answered with this."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Bodies:
    """The bodies that are held now."""

    def __init__(self, most: int = limits.HELD_BODIES, largest: int = limits.LARGEST_BODY) -> None:
        self._most = most
        self._largest = largest
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body, counted as held until the end of the block. Raises Refused, and starlette's ClientDisconnect."""
        chunks: list[bytes] = []
        size = 0
        stream = request.stream()
        begun = asyncio.get_running_loop().time()
        try:
            while (chunk := await _next(stream, begun + limits.BODY_SECONDS + size / limits.LEAST_BODY_RATE)) is not None:
                size += len(chunk)
                self.held += len(chunk)
                if size > self._largest:
                    raise Refused(words.TOO_LARGE)
                if self.held > self._most:
                    raise Refused(_FULL)
                chunks.append(chunk)
            body = b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self.held -= size


async def _next(stream: AsyncIterator[bytes], deadline: float) -> bytes | None:
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(stream, None)
    except TimeoutError:
        raise Refused(words.BY_STATUS[408]) from None


_FULL = Refusal(ErrorReason.NOT_READY, "too many large requests at a time; ask again", retry_after="2")
