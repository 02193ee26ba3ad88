"""The secrets of a cluster, as its site gets them: files by name. They lie where the client looks for them: in the state directory on one
machine, in Secrets beside the object on Kubernetes."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Protocol

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay import companions
from matrix_operator.backends.kuberay.names import API_KEYS_KEY, Object, api_keys_secret, credentials_secret, is_ours
from matrix_operator.backends.kuberay.paths import one
from matrix_operator.backends.kuberay.sight import listed
from matrix_operator.backends.kuberay.tokens import TokenPair, Tokens
from matrix_operator.backends.local.secrets import CLIENT_TOKEN, RAY_TOKEN, make_tokens, read_token
from matrix_store.errors import NotFound
from matrix_store.home import Home
from matrix_store.kubernetes.api import Api

READ_AGAIN_SECONDS = 30.0
"""How old what was read of issued keys and of the user's own may be."""
HUB_TOKEN = "hf-token"
"""The file in which the runtime looks for the token of the Hugging Face hub."""
HUB_VARIABLE = "HF_TOKEN"


class ClusterSecrets(Protocol):
    """Where the secrets of all clusters are."""

    async def read(self, cluster: MatrixCluster) -> TokenPair | None:
        """The tokens; None while they are not made. Raises StoreError, OSError."""
        ...

    async def files(self, cluster: MatrixCluster) -> Mapping[str, bytes]:
        """All files, the tokens among them, which are made if they are missing. Raises BackendRefusal, StoreError, OSError."""
        ...

    def pulse(self, cluster: MatrixCluster) -> Hashable:
        """Changes when a file has, where that can be told at once."""
        ...

    async def remove(self, cluster: MatrixCluster) -> None:
        """Raises StoreError, OSError."""
        ...

    async def let_go(self, cluster: MatrixCluster) -> str:
        """What would still go with the object, in words; empty for nothing. Raises StoreError."""
        ...


class HomeSecrets:
    """In the state directory, as those of a cluster on one machine (backends.local.secrets)."""

    def __init__(self, home: Home, environ: Mapping[str, str] = os.environ) -> None:
        """The user's own are those of the environment."""
        self._home = home
        token = environ.get(HUB_VARIABLE, "")
        self._own = {HUB_TOKEN: token.encode()} if token else {}

    async def read(self, cluster: MatrixCluster) -> TokenPair | None:
        return await asyncio.to_thread(self._read, self._directory(cluster))

    async def files(self, cluster: MatrixCluster) -> Mapping[str, bytes]:
        return await asyncio.to_thread(self._files, self._directory(cluster))

    def pulse(self, cluster: MatrixCluster) -> Hashable:
        try:
            return frozenset((path.name, path.stat().st_mtime_ns) for path in _visible(self._directory(cluster)))
        except OSError as error:
            return str(error)

    async def remove(self, cluster: MatrixCluster) -> None:
        await asyncio.to_thread(self._remove, self._home.cluster(cluster.metadata.uid))

    async def let_go(self, cluster: MatrixCluster) -> str:
        return ""

    def _directory(self, cluster: MatrixCluster) -> Path:
        return self._home.cluster(cluster.metadata.uid) / "secrets"

    def _read(self, directory: Path) -> TokenPair | None:
        ray, client = (read_token(directory, name) for name in (RAY_TOKEN, CLIENT_TOKEN))
        return TokenPair(ray, client) if ray and client else None

    def _files(self, directory: Path) -> Mapping[str, bytes]:
        make_tokens(directory)
        return self._own | {path.name: path.read_bytes() for path in _visible(directory)}

    def _remove(self, directory: Path) -> None:
        """What else there may be of the cluster is not ours to delete."""
        if (directory / "secrets").exists():
            shutil.rmtree(directory / "secrets")
        if directory.exists() and not any(directory.iterdir()):
            directory.rmdir()


class KubernetesSecrets:
    """In Secrets of the cluster's namespace, as those of a cluster of KubeRay's. Only single ones are read, by name."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._tokens = Tokens(api)
        self._further: dict[str, tuple[float, dict[str, bytes]]] = {}
        """By uid: when they were read, and what was in them."""

    async def read(self, cluster: MatrixCluster) -> TokenPair | None:
        """They are read again for another attempt: what runs has its token from its start on."""
        allocation = cluster.status.allocation
        return await self._tokens.read(cluster, allocation.attempt if allocation else None)

    async def files(self, cluster: MatrixCluster) -> Mapping[str, bytes]:
        if await self.read(cluster) is None:
            await self._tokens.ensure(cluster)
        pair = await self.read(cluster)
        tokens = {RAY_TOKEN: pair.ray.encode(), CLIENT_TOKEN: pair.client.encode()} if pair else {}
        return await self._read_further(cluster) | tokens

    def pulse(self, cluster: MatrixCluster) -> Hashable:
        return None

    async def remove(self, cluster: MatrixCluster) -> None:
        await companions.delete_all(self._api, cluster)
        self._forget(cluster)

    async def let_go(self, cluster: MatrixCluster) -> str:
        left = await companions.align_owners(self._api, cluster, owned=False)
        if not left:
            self._forget(cluster)
        return listed(left)

    def _forget(self, cluster: MatrixCluster) -> None:
        self._tokens.forget(cluster)
        self._further.pop(cluster.metadata.uid, None)

    async def _read_further(self, cluster: MatrixCluster) -> dict[str, bytes]:
        """The user's own, and the keys that were issued: of the user's none takes the name of one of ours."""
        read_at, files = self._further.get(cluster.metadata.uid, (float("-inf"), {}))
        if self._clock() - read_at < READ_AGAIN_SECONDS:
            return dict(files)
        own = _data(await self._find(cluster, credentials_secret(cluster)))
        issued = await self._find(cluster, api_keys_secret(cluster))
        keys = {name: text for name, text in _data(issued).items() if name == API_KEYS_KEY and is_ours(issued or {}, cluster)}
        self._further[cluster.metadata.uid] = self._clock(), own | keys
        return own | keys

    async def _find(self, cluster: MatrixCluster, name: str) -> Object | None:
        try:
            return await self._api.get(one("Secret", cluster.metadata.namespace, name))
        except NotFound:
            return None


def _data(secret: Object | None) -> dict[str, bytes]:
    data = (secret or {}).get("data") or {}
    return {name: base64.b64decode(text or "") for name, text in data.items()}


def _visible(directory: Path) -> list[Path]:
    """Without drafts and locks, which begin with a dot."""
    found = directory.iterdir() if directory.exists() else ()
    return [path for path in found if not path.name.startswith(".")]
