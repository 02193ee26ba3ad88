"""Sends a request that the side-car holds on to a replica, by way of HAProxy: it picks the server, tries again, and counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from matrix_proto.errors import MODEL_HEADER, REASON_KEY, ErrorReason
from matrix_runtime.gateway.config import SLOT_HEADER
from matrix_runtime.gateway.limits import CONNECT_SECONDS
from matrix_runtime.gateway.settings import ServedModel

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})
"""RFC 9110, 7.6.1: for the next hop alone."""
_OURS = _HOP_BY_HOP | {"authorization", "content-length", "expect", "host", MODEL_HEADER, SLOT_HEADER}
_WRITTEN_AGAIN = _HOP_BY_HOP | {"date", "server"}
_NOT_YET = {ErrorReason.NOT_READY.value, ErrorReason.DRAINING.value}


class Forwarder:
    """Over HAProxy's inner socket."""

    def __init__(self, socket: Path) -> None:
        # HAProxy ends what stands still; a stream may be silent for long.
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        self._client = httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(socket), limits=limits), timeout=timeout)

    async def send(self, request: Request, body: bytes, model: ServedModel, backend: str) -> Response | None:
        """The replica's answer, streamed as it comes; None when no replica takes it now. Raises httpx2.HTTPError."""
        headers = [*_passed(request.headers.raw, _OURS), (b"host", b"gateway")]
        headers += [(SLOT_HEADER.encode(), backend.encode()), (MODEL_HEADER.encode(), model.name.encode())]
        headers.append((b"content-length", str(len(body)).encode()))
        query = f"?{request.url.query}" if request.url.query else ""
        onward = httpx2.Request(request.method, f"http://gateway{request.url.path}{query}", headers=headers, content=_once(body))
        try:
            answer = await self._client.send(onward, stream=True)
        except httpx2.ConnectError:  # HAProxy is being started again
            return None
        if answer.status_code == 503 and answer.headers.get(REASON_KEY) in _NOT_YET:
            await answer.aclose()
            return None
        return _Passed(answer)

    async def close(self) -> None:
        """Ends its connections."""
        await self._client.aclose()


class _Passed(StreamingResponse):
    """A replica's answer, passed on as it comes. It is closed at the end, also when the caller has left before the first byte: then nothing
    has been read of it, and it would go on."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(answer.aiter_raw(), status_code=answer.status_code)
        self.raw_headers = list(_passed(answer.headers.raw, _WRITTEN_AGAIN))
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    """Lets go of the body when it is sent. (httpx2 keeps a request as long as its answer, which may be a stream of an hour.)"""
    yield body


def _passed(headers: Iterable[tuple[bytes, bytes]], without: frozenset[str]) -> Iterable[tuple[bytes, bytes]]:
    return ((name, value) for name, value in headers if name.decode("latin-1").lower() not in without)
