"""Calls to the Kubernetes API: JSON in, JSON out, errors in the store's words. Knows nothing of Matrix's kinds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from matrix_store.errors import Unavailable
from matrix_store.kubernetes.connection import Connection
from matrix_store.kubernetes.faults import Reply, refusal, unreachable, unreadable, waits
from matrix_store.kubernetes.transport import HttpxTransport, Transport
from matrix_store.port import Raw
from matrix_store.wire import dumps, loads

MANAGER = "matrix"
"""The field manager of every write of ours, in metadata.managedFields."""
TRIES = 4
"""Of a call that the server turned away before it did anything (429)."""
PAGE = 500
"""Objects in one answer to a list."""

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
WRITE = {"fieldManager": MANAGER, "fieldValidation": "Strict"}


UNANSWERED = "none"
"""Instead of a status code: no answer came."""
CallHook = Callable[[str, str], None]
"""Told of each call when it has ended: its HTTP method and the code of the answer, or UNANSWERED."""


def _unheard(method: str, code: str) -> None:
    """Nobody wants to know."""


class Api:
    """One API server. Every method raises a StoreError and nothing else."""

    def __init__(
        self,
        connection: Connection,
        heard: CallHook = _unheard,
        may_write: Callable[[], bool] = lambda: True,
        transport: Transport | None = None,
    ) -> None:
        """`may_write` is asked before each call that changes something; on False it is not made and is Unavailable. `transport`: what
        calls go over, if not the connection's own client."""
        self.server = connection.server
        self._transport = transport or HttpxTransport(connection.http)
        self._heard = heard
        self._may_write = may_write

    async def get(self, path: str, **params: str) -> Raw:
        return await self._json("GET", path, params)

    async def list_all(self, path: str, **params: str) -> tuple[list[Raw], str]:
        """All objects, page by page, and the resourceVersion that a watch goes on from."""
        items: list[Raw] = []
        more = ""
        while True:
            page = await self.get(path, **params, limit=str(PAGE), **({"continue": more} if more else {}))
            items += page.get("items") or []
            more = page["metadata"].get("continue") or ""
            if not more:
                return items, str(page["metadata"]["resourceVersion"])

    async def version(self, path: str) -> int:
        """The resourceVersion of a collection now."""
        return int((await self.get(path, limit="1"))["metadata"]["resourceVersion"])

    async def create(self, path: str, body: Raw, *, dry_run: bool = False) -> Raw:
        """Raises AlreadyThere when the name is taken."""
        return await self._json("POST", path, _writing(dry_run), body)

    async def patch(self, path: str, operations: Sequence[Raw], *, dry_run: bool = False) -> Raw:
        """A JSON patch: all of its operations or none."""
        return await self._json("PATCH", path, _writing(dry_run), operations, content_type=JSON_PATCH)

    async def merge(self, path: str, changes: Raw) -> Raw:
        return await self._json("PATCH", path, _writing(False), changes, content_type=MERGE_PATCH)

    async def replace(self, path: str, body: Raw) -> Raw:
        """Put it in the place of what is there; another version than the body's is a Conflict."""
        return await self._json("PUT", path, _writing(False), body)

    async def delete(self, path: str, options: Raw) -> Raw:
        return await self._json("DELETE", path, {}, options)

    async def close(self) -> None:
        await self._transport.close()

    def lines(self, path: str, params: Mapping[str, str], seconds: float) -> AsyncGenerator[bytes, None]:
        """Of a watch (Transport.lines). Not counted as a call."""
        return self._transport.lines(path, params, seconds)

    async def _json(
        self, method: str, path: str, params: Mapping[str, str], body: Any = None, content_type: str = "application/json"
    ) -> Raw:
        content = None if body is None else dumps(body)
        headers = {} if body is None else {"Content-Type": content_type}
        for attempt in range(1, TRIES + 1):
            reply = await self._send(method, path, params, content, headers)
            if reply.status < 400:
                return _decoded(reply)
            if reply.status != 429 or attempt == TRIES:
                raise refusal(reply)
            await asyncio.sleep(waits(reply) * random.uniform(1.0, 1.5))
        raise AssertionError("unreachable")

    async def _send(self, method: str, path: str, params: Mapping[str, str], content: bytes | None, headers: Mapping[str, str]) -> Reply:
        if method != "GET" and not self._may_write():
            raise Unavailable("nothing is written: this process can't prove that it still holds its lease")
        try:
            reply = await self._transport.request(method, path, params, content, headers)
        except Exception as error:
            self._heard(method, UNANSWERED)
            raise unreachable(error, self.server) from error
        self._heard(method, str(reply.status))
        return reply


def replace_version(resource_version: str) -> Raw:
    """The first operation of a patch that must meet the object as it was read: another version is a Conflict."""
    return {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version}


def _writing(dry_run: bool) -> dict[str, str]:
    return WRITE | ({"dryRun": "All"} if dry_run else {})


def _decoded(reply: Reply) -> Raw:
    try:
        body = loads(reply.content)
    except ValueError as error:
        raise unreadable(reply) from error
    if not isinstance(body, dict):
        raise unreadable(reply)
    return body
