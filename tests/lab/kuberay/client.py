"""Calls to the API server, of many clusters at once and cheap."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2

from matrix_store.kubernetes.api import JSON_PATCH, MERGE_PATCH, Api
from matrix_store.kubernetes.connection import connect

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

_AT_ONCE = 32
"""More than that only wait in the pool of connections, where each waiting call makes the others dearer."""


class Refused(Exception):
    """The API server's no."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """One API server, called as whoever the kubeconfig says. Raises Refused, and httpx2.HTTPError when it can't be reached."""

    def __init__(self, kubeconfig: Path, manager: str) -> None:
        """`manager` is who metadata.managedFields names as the writer."""
        connection = connect(kubeconfig=kubeconfig)
        self.api = Api(connection)
        """For watches."""
        self._http: httpx2.AsyncClient = connection.http
        self._manager = manager
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def get(self, path: str, **params: str) -> Object:
        return await self._call("GET", path, params)

    async def create(self, path: str, body: Object) -> Object:
        return await self._call("POST", path, self._writing, body)

    async def merge(self, path: str, changes: Object) -> Object:
        return await self._call("PATCH", path, self._writing, changes, MERGE_PATCH)

    async def patch(self, path: str, operations: list[Object], manager: str = "") -> Object:
        return await self._call("PATCH", path, {"fieldManager": manager or self._manager}, operations, JSON_PATCH)

    async def put(self, path: str, body: Object) -> Object:
        return await self._call("PUT", path, self._writing, body)

    async def delete(self, path: str, options: Object | None = None) -> Object | None:
        """What was deleted; None if it was gone, or is another by now."""
        try:
            return await self._call("DELETE", path, {}, options or {})
        except Refused as refused:
            if refused.code in (404, 409):
                return None
            raise

    async def close(self) -> None:
        await self._http.aclose()

    @property
    def _writing(self) -> dict[str, str]:
        return {"fieldManager": self._manager}

    async def _call(
        self, method: str, path: str, params: dict[str, str], body: Any = None, content_type: str = "application/json"
    ) -> Object:
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        async with self._free:
            answer = await self._http.request(method, path, params=params, content=content, headers={"Content-Type": content_type})
        found: Object = json.loads(answer.content)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, str(found.get("message")))
        return found


def key_of(found: Object) -> Key:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def in_namespace(prefix: str, kind: str, key: Key) -> str:
    """The path of one object; `prefix` is that of its API group. With an empty name: that of the list."""
    return f"{prefix}/namespaces/{key[0]}/{kind}" + (f"/{key[1]}" if key[1] else "")
