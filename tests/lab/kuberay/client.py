"""Calls to the API server, by aiohttp: of a thousand clusters at once they cost a third of what they do by httpx2."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.models import User

from matrix_store.kubernetes.api import JSON_PATCH, MERGE_PATCH, Api
from matrix_store.kubernetes.connection import configured, connect

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

_AT_ONCE = 32
_SECONDS = 30.0
UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)
"""What calls raise when there is no answer."""


class Refused(Exception):
    """The API server's no."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """One API server, called as whoever the kubeconfig says. Raises Refused, and UNREACHABLE."""

    def __init__(self, kubeconfig: Path, manager: str) -> None:
        """`kubeconfig`: of a user with a certificate. `manager` is who metadata.managedFields names as the writer."""
        self.api = Api(connect(kubeconfig=kubeconfig))
        """For watches."""
        self._kubeconfig = kubeconfig
        self._manager = manager

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
        await self._http.close()
        await self.api.close()

    @cached_property
    def _http(self) -> aiohttp.ClientSession:
        """Made inside of the loop that it belongs to."""
        config = configured(kubeconfig=self._kubeconfig)
        context = verify_cluster(config.cluster, config.user or User(), config.abs_file)
        return aiohttp.ClientSession(
            config.cluster.server,
            connector=aiohttp.TCPConnector(limit=_AT_ONCE, ssl=context),
            timeout=aiohttp.ClientTimeout(_SECONDS),
            json_serialize=lambda body: json.dumps(body, separators=(",", ":")),
        )

    @property
    def _writing(self) -> dict[str, str]:
        return {"fieldManager": self._manager}

    async def _call(
        self, method: str, path: str, params: dict[str, str], body: Any = None, content_type: str = "application/json"
    ) -> Object:
        headers = {"Content-Type": content_type}
        async with self._http.request(method, path, params=params, json=body, headers=headers) as answer:
            content = await answer.read()
        found = _decoded(content)
        if answer.status >= 400 or found is None:
            raise Refused(answer.status, str(found.get("message") if found else content[:200]))
        return found


def key_of(found: Object) -> Key:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def in_namespace(prefix: str, kind: str, key: Key) -> str:
    """The path of one object; `prefix` is that of its API group. With an empty name: that of the list."""
    return f"{prefix}/namespaces/{key[0]}/{kind}" + (f"/{key[1]}" if key[1] else "")


def _decoded(content: bytes) -> Object | None:
    """None for what is no object: an API server that is about to end answers with text."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
