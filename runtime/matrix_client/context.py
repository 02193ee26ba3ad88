"""Where the objects live and who works on them.

`local`: the SQLite store of the state directory and its controller process. `kubernetes`, or `kubernetes/NAME` for a context of the
kubeconfig that is not the current one: the API server of a cluster (kubernetes_context.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from matrix_client.errors import NotReady, UsageError
from matrix_crds.constants import DEFAULT_NAMESPACE
from matrix_store.port import Store, StoredObject

if TYPE_CHECKING:
    from matrix_proto.keys import ApiKeys
    from matrix_store.home import Home

LOCAL = "local"
KUBERNETES = "kubernetes"


class Way(NamedTuple):
    """How a cluster is reached from here."""

    directory: str
    """host:port of its directory."""
    gateway: str = ""
    """host:port of its gateway, through which every request goes, gRPC too; "": straight to the replicas."""


class Context(Protocol):
    """What a client needs of the place it talks to."""

    @property
    def default_namespace(self) -> str:
        """The namespace that is meant when none is named. Raises Unavailable when the place is not configured."""
        ...

    async def store(self) -> Store:
        """The store, opened on first use."""
        ...

    async def client_token(self, cluster: StoredObject) -> str:
        """The token that the cluster's replicas ask for. Raises NotReady, StoreError."""
        ...

    async def way(self, cluster: StoredObject) -> Way:
        """How its models are reached from here. Raises NotReady before it has addresses, and StoreError, such as for a missing right."""
        ...

    async def read_keys(self, cluster: StoredObject) -> ApiKeys:
        """The keys that were issued for the cluster's gateway. Raises NotReady, KeysUnreadable, StoreError."""
        ...

    async def change_keys(self, cluster: StoredObject, change: Callable[[ApiKeys], ApiKeys]) -> ApiKeys:
        """Let `change` work on them, with other writers kept out, and store them. Raises what it raises, NotReady, KeysUnreadable."""
        ...

    async def refuse_elsewhere(self) -> None:
        """Before something is applied: raises ControllerFailed when it would be started where it can't be reached from here."""
        ...

    async def ensure_controller(self) -> None:
        """After something was changed: start who works on the objects, where that is ours to do. Raises ControllerFailed."""
        ...

    async def supervise(self) -> None:
        """Again and again while something is waited for. Raises ControllerFailed when nobody works on the objects."""
        ...

    async def close(self) -> None: ...


class LocalContext:
    """This machine: the state directory, and a controller process that is started when it is needed."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._store: Store | None = None

    @property
    def default_namespace(self) -> str:
        return DEFAULT_NAMESPACE

    async def store(self) -> Store:
        from matrix_store.sqlite import SqliteStore

        if self._store is None:
            self._store = await SqliteStore.open(self.home.database)
        return self._store

    async def client_token(self, cluster: StoredObject) -> str:
        path = self.home.cluster(cluster.uid) / "secrets" / "client-token"
        try:
            return path.read_text().strip()
        except OSError as error:
            message = f"its client token can't be read ({path}: {error.strerror}); see `matrix why {cluster.key}`"
            raise NotReady(cluster.key, "", message) from error

    async def way(self, cluster: StoredObject) -> Way:
        from matrix_client.endpoints import directory_address

        return Way(directory_address(cluster))

    async def read_keys(self, cluster: StoredObject) -> ApiKeys:
        from matrix_client.api_keys import KeysFile

        return await asyncio.to_thread(KeysFile.of(self.home, cluster).read)

    async def change_keys(self, cluster: StoredObject, change: Callable[[ApiKeys], ApiKeys]) -> ApiKeys:
        from matrix_client.api_keys import KeysFile

        return await asyncio.to_thread(KeysFile.of(self.home, cluster).change, change)

    async def refuse_elsewhere(self) -> None:
        from matrix_client.controller import refuse_elsewhere

        await refuse_elsewhere(self.home)

    async def ensure_controller(self) -> None:
        from matrix_client.controller import ensure_running

        await ensure_running(self.home)

    async def supervise(self) -> None:
        await self.ensure_controller()

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None


def resolve_home(home: str | Path | None) -> Home:
    """The state directory: `home`, else as Home.resolve says ($MATRIX_HOME, ...)."""
    from matrix_store.home import Home

    return Home.resolve() if home is None else Home.resolve(os.environ | {"MATRIX_HOME": str(home)})


def open_context(name: str = LOCAL, home: str | Path | None = None) -> Context:
    """The context of that name; `home` is for `local`. Opens nothing yet. Raises UsageError for one that there isn't."""
    kind, slash, which = name.partition("/")
    if kind == KUBERNETES and bool(slash) == bool(which):
        from matrix_client.kubernetes_context import KubernetesContext

        return KubernetesContext(which or None)
    if name != LOCAL:
        raise UsageError(f"no context {name!r}; there is {LOCAL}, {KUBERNETES} and {KUBERNETES}/NAME, with NAME of the kubeconfig")
    return LocalContext(resolve_home(home))
