"""What calls to an API server go over. The adapter here is that of the base install; the operator has a cheaper one (matrix_operator)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

import httpx2

from matrix_store.kubernetes.connection import CONNECT_SECONDS
from matrix_store.kubernetes.faults import Reply, refusal


class Transport(Protocol):
    """One API server, called with the credentials of one connection. Paths are relative to it. Whatever keeps an answer from coming
    whole is raised as the library's own error, an OSError or a TimeoutError (faults.unreachable)."""

    async def request(
        self, method: str, path: str, params: Mapping[str, str], content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One call, within connection.REQUEST_SECONDS of silence."""
        ...

    def lines(self, path: str, params: Mapping[str, str], seconds: float) -> AsyncGenerator[bytes, None]:
        """The lines of an answer that goes on for at most `seconds`, as they come. Raises also StoreError, for what the server refuses."""
        ...

    async def close(self) -> None: ...


class HttpxTransport:
    """By httpx2."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def request(
        self, method: str, path: str, params: Mapping[str, str], content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return reply(await self._http.request(method, path, params=params, content=content, headers=headers))

    async def lines(self, path: str, params: Mapping[str, str], seconds: float) -> AsyncGenerator[bytes, None]:
        timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)
        async with self._http.stream("GET", path, params=params, timeout=timeout) as answer:
            if answer.status_code >= 400:
                await answer.aread()
                raise refusal(reply(answer))
            splitter = LineSplitter()
            async for piece in answer.aiter_bytes():
                for line in splitter.whole(piece):
                    yield line
            if splitter.rest:
                yield splitter.rest

    async def close(self) -> None:
        await self._http.aclose()


class LineSplitter:
    """Lines out of the pieces in which they come, however those are cut. A line ends at a newline and nowhere else: what Python and
    httpx2 also call the end of one (U+0085, U+2028 and more) may be in the midst of a JSON string."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []

    def whole(self, piece: bytes) -> list[bytes]:
        """The lines that end in this piece, without their newlines."""
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = self.rest + lines[0]
            self._begun.clear()
        self._begun.append(rest)
        return lines

    @property
    def rest(self) -> bytes:
        """What has come since the last newline."""
        return b"".join(self._begun)


def reply(answer: httpx2.Response) -> Reply:
    """An answer that was read."""
    return Reply(answer.status_code, answer.headers, answer.content, str(answer.request.url))
