"""A cluster's secrets on Kubernetes: its client token, and the keys that were issued for its gateway. Each is a Secret beside the object.

The kubelet brings a changed Secret into the pods that mount it within about a minute (its sync period, and the age of its cache).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pydantic import ValidationError

from matrix_client.errors import KeysUnreadable, NotReady
from matrix_crds.on_kubernetes import CLIENT_TOKEN_KEY, UID_LABEL, api_keys_secret, client_token_secret, labels, owner_reference
from matrix_proto.keys import KEYS_FILE, ApiKeys
from matrix_store.errors import Conflict, Forbidden, NotFound
from matrix_store.kubernetes.api import Api, replace_version
from matrix_store.port import Raw, StoredObject

WRITE_TRIES = 10
"""Of a change of the keys that others change at the same time: each try that fails is another's that went through."""


async def client_token(api: Api, cluster: StoredObject) -> str:
    """Raises NotReady before the operator has made it, Forbidden, Unavailable."""
    named = (cluster.raw.get("status", {}).get("credentialsRef") or {}).get("name")
    name = str(named or client_token_secret(cluster.key.name))
    async with _allowed("get", name):
        try:
            secret = await api.get(_path(cluster, name))
        except NotFound as error:
            missing = f"its client token is not there yet (Secret {name}); see `matrix why {cluster.key}`"
            raise NotReady(cluster.key, "", missing) from error
    token = _read(secret, CLIENT_TOKEN_KEY).decode(errors="replace").strip()
    if not token:
        raise NotReady(cluster.key, "", f"Secret {name} has no {CLIENT_TOKEN_KEY!r} in it; see `matrix why {cluster.key}`")
    return token


class KeysSecret:
    """The issued keys of one cluster: the same text as the file of a cluster on one machine."""

    def __init__(self, api: Api, cluster: StoredObject) -> None:
        self._api = api
        self._cluster = cluster
        self._name = api_keys_secret(cluster.key.name)

    async def read(self) -> ApiKeys:
        """Raises KeysUnreadable, Forbidden, Unavailable."""
        secret = await self._find()
        return ApiKeys() if secret is None else self._keys(secret)

    async def change(self, change: Callable[[ApiKeys], ApiKeys]) -> ApiKeys:
        """Read, change and write until nobody was in between. Raises KeysUnreadable, Forbidden, Unavailable and what `change` raises."""
        for _ in range(WRITE_TRIES):
            secret = await self._find()
            keys = change(ApiKeys() if secret is None else self._keys(secret))
            try:
                await self._write(secret, keys)
                return keys
            except (Conflict, NotFound):
                continue
        raise KeysUnreadable(f"Secret {self._name} is being changed by others all the time; try again")

    async def _find(self) -> Raw | None:
        async with _allowed("get", self._name):
            try:
                return await self._api.get(_path(self._cluster, self._name))
            except NotFound:
                return None

    def _keys(self, secret: Raw) -> ApiKeys:
        if (secret["metadata"].get("labels") or {}).get(UID_LABEL) not in (None, self._cluster.uid):
            raise KeysUnreadable(f"Secret {self._name} is that of a former cluster of this name; delete it, and issue the keys anew")
        text = _read(secret, KEYS_FILE)
        try:
            return ApiKeys.model_validate_json(text) if text else ApiKeys()
        except ValidationError as error:
            raise KeysUnreadable(f"Secret {self._name} is damaged; delete it and issue the keys anew") from error

    async def _write(self, secret: Raw | None, keys: ApiKeys) -> None:
        data = {KEYS_FILE: base64.b64encode(keys.model_dump_json(by_alias=True, indent=2).encode()).decode()}
        if secret is None:
            async with _allowed("create", "secrets"):
                await self._api.create(_path(self._cluster), self._body(data))
            return
        version = replace_version(str(secret["metadata"]["resourceVersion"]))
        async with _allowed("patch", self._name):
            merged = {**(secret.get("data") or {}), **data}
            await self._api.patch(_path(self._cluster, self._name), [version, {"op": "add", "path": "/data", "value": merged}])

    def _body(self, data: dict[str, str]) -> Raw:
        """It goes with the cluster, unless what belongs to that shall outlive the object."""
        key, uid = self._cluster.key, self._cluster.uid
        metadata: Raw = {"name": self._name, "namespace": key.namespace, "labels": labels(key.name, uid)}
        if self._cluster.raw["spec"].get("deletionPolicy") != "Orphan":
            metadata["ownerReferences"] = [owner_reference(key.name, uid)]
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


def _path(cluster: StoredObject, name: str = "") -> str:
    path = f"/api/v1/namespaces/{cluster.key.namespace}/secrets"
    return f"{path}/{name}" if name else path


def _read(secret: Raw, key: str) -> bytes:
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "", validate=True)
    except ValueError:
        return b""


@asynccontextmanager
async def _allowed(verb: str, name: str) -> AsyncIterator[None]:
    """Says which right is missing."""
    try:
        yield
    except Forbidden as error:
        where = "secrets" if name == "secrets" else f"secrets, resourceName {name}"
        raise Forbidden(f"{error} with `{verb}` on {where}") from error
