"""An API server's answers, given by hand: for what a real one can't be made to say at will."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2

from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import Connection
from matrix_store.port import Raw

Answer = Callable[[httpx2.Request], Awaitable[httpx2.Response]]
SERVER = "https://api.test:6443"


def api(answer: Answer) -> Api:
    """Calls of it end in `answer`."""
    return Api(Connection(httpx2.AsyncClient(base_url=SERVER, transport=httpx2.MockTransport(answer)), SERVER, "default"))


def cluster(name: str, version: int, uid: str = "u", **metadata: Any) -> Raw:
    known = {"name": name, "namespace": "default", "uid": uid, "resourceVersion": str(version), "generation": 1, **metadata}
    return {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "metadata": known, "spec": {}}


def listed(version: int, *items: Raw, more: str = "") -> httpx2.Response:
    return httpx2.Response(200, json={"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items)})


def status(code: int, reason: str = "", message: str = "", **details: Any) -> httpx2.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return httpx2.Response(code, json=body)


class Lines(httpx2.AsyncByteStream):
    """A watch's answer: these events, and then what `then` does (ends by default)."""

    def __init__(self, *events: Raw, then: Callable[[], Awaitable[None]] | None = None) -> None:
        self._events = events
        self._then = then

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in self._events:
            yield json.dumps(event).encode() + b"\n"
        if self._then is not None:
            await self._then()


def watched(*events: Raw, then: Callable[[], Awaitable[None]] | None = None) -> httpx2.Response:
    return httpx2.Response(200, stream=Lines(*events, then=then))


def event(type_: str, raw: Raw) -> Raw:
    return {"type": type_, "object": raw}


def is_watch(request: httpx2.Request) -> bool:
    return request.url.params.get("watch") == "true"
