"""The context `kubernetes`: the objects live in a cluster's API server, where an operator works on them.

Inside that cluster's network (in a pod, by its service account) the addresses in a status are reached as they are. From anywhere else all
goes through the API server: a forwarded port to the directory, and one to the gateway, through which every request then goes. A name such
as `quickstart-gateway.team.svc` is never tried from outside: whoever answers to it there would be sent the cluster's token.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from matrix_client.context import Way
from matrix_client.errors import ControllerFailed, NotReady, UsageError
from matrix_store.errors import Unavailable
from matrix_store.port import Store, StoredObject

if TYPE_CHECKING:
    from matrix_client.forwarding import Forwarding
    from matrix_proto.keys import ApiKeys
    from matrix_store.kubernetes.api import Api
    from matrix_store.kubernetes.connection import Connection

REACH = "MATRIX_REACH"
"""The variable that decides what can't be seen: `inside` where the cluster's names and addresses are reached as they are (a machine with a
route into its network), `outside` for forwarded ports."""
GATEWAY = "openai"
MACHINE = "Machine"
"""The scope of addresses of the operator's own machine: of clusters at Slurm sites, when it runs in no pod."""
DIRECTORY = "grpc"
SUPERVISE_SECONDS = 3.0
"""How often to look whether an operator is there, while something is waited for."""
ALONE_SECONDS = 10.0
"""How long nobody may be there: operators are started, too, and take over from each other."""


class KubernetesContext:
    """Implements matrix_client.context.Context. `name`: a context of the kubeconfig; None for its current one."""

    def __init__(self, name: str | None = None, kubeconfig: Path | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._name = name
        self._kubeconfig = kubeconfig
        self._reach = environ.get(REACH, "")
        self._connection: Connection | None = None
        self._store: Store | None = None
        self._forwardings: dict[tuple[str, str], Forwarding] = {}
        """By cluster's uid and endpoint: those that requests go through."""
        self._supervised = float("-inf")
        self._alone_since: float | None = None

    @property
    def default_namespace(self) -> str:
        from matrix_store.kubernetes.connection import configured

        return configured(self._name, self._kubeconfig).namespace

    @property
    def inside(self) -> bool:
        """Whether the cluster's own addresses are reached from here. Raises UsageError."""
        from matrix_store.kubernetes.connection import is_inside

        if self._reach not in ("", "inside", "outside"):
            raise UsageError(f"{REACH} is {self._reach!r}; it may be `inside` or `outside`")
        return self._reach == "inside" if self._reach else self._name is None and self._kubeconfig is None and is_inside()

    async def store(self) -> Store:
        from matrix_store.kubernetes.store import KubernetesStore

        if self._store is None:
            self._store = KubernetesStore(self.api)
        return self._store

    @property
    def api(self) -> Api:
        """Calls to the API server. Raises Unavailable."""
        from matrix_store.kubernetes.api import Api

        return Api(self.connection)

    @property
    def connection(self) -> Connection:
        """Opened by the first call. Raises Unavailable."""
        from matrix_client.mirror import MOST_WATCHES
        from matrix_store.kubernetes.connection import CONNECTIONS, connect

        if self._connection is None:
            self._connection = connect(self._name, self._kubeconfig, CONNECTIONS + MOST_WATCHES)
        return self._connection

    async def client_token(self, cluster: StoredObject) -> str:
        from matrix_client.kubernetes_secrets import client_token

        return await client_token(self.api, cluster)

    async def way(self, cluster: StoredObject) -> Way:
        from matrix_client.endpoints import directory_address

        with suppress(NotReady, Unavailable):  # these pass; that a right is missing is said at once
            await self.client_token(cluster)
        if self.inside:
            return Way(directory_address(cluster))
        if _scope(cluster, GATEWAY) == MACHINE:
            await self._refuse_another_machine(cluster)
            return Way(directory_address(cluster), urlsplit(published(cluster, GATEWAY)).netloc)
        return Way(await self._forwarded(cluster, DIRECTORY), await self._forwarded(cluster, GATEWAY))

    async def forward(
        self, cluster: StoredObject, endpoint: str, local_port: int = 0, told: Callable[[str], None] = lambda _: None
    ) -> Forwarding:
        """A port of this machine that leads to what is published under that name; close it. Raises NotReady, UsageError, OSError."""
        from matrix_client.forwarding import Forwarding

        url = urlsplit(published(cluster, endpoint))
        service, _, rest = (url.hostname or "").partition(".")
        if rest.split(".")[:2] != [cluster.key.namespace, "svc"] or url.port is None:
            raise UsageError(f"{cluster.key}: {endpoint} is at {url.netloc}, which is no Service of the cluster: it needs no forwarding")
        return await Forwarding.open(self.connection, cluster.key.namespace, service, url.port, local_port, told)

    async def read_keys(self, cluster: StoredObject) -> ApiKeys:
        from matrix_client.kubernetes_secrets import KeysSecret

        return await KeysSecret(self.api, cluster).read()

    async def change_keys(self, cluster: StoredObject, change: Callable[[ApiKeys], ApiKeys]) -> ApiKeys:
        from matrix_client.kubernetes_secrets import KeysSecret

        return await KeysSecret(self.api, cluster).change(change)

    async def refuse_elsewhere(self) -> None:
        """Everything is started in the cluster."""

    async def ensure_controller(self) -> None:
        """The operator is the cluster's: it is installed, not started from here."""

    async def supervise(self) -> None:
        """Where it can't be told whether an operator is there, it is taken to be."""
        from matrix_client.kubernetes_operator import find_operator

        now = time.monotonic()
        if now - self._supervised < SUPERVISE_SECONDS:
            return
        found = await find_operator(self.api, self.default_namespace)
        self._supervised = time.monotonic()
        if found is None or found.running:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since >= ALONE_SECONDS:
            raise ControllerFailed(f"nobody works on the objects: {found.words}; what was applied stays and waits for one")

    async def close(self) -> None:
        for forwarding in self._forwardings.values():
            await forwarding.close()
        self._forwardings.clear()
        if self._store is not None:
            await self._store.close()
            self._store = None
        if self._connection is not None:
            await self._connection.http.aclose()
            self._connection = None

    async def _refuse_another_machine(self, cluster: StoredObject) -> None:
        """Raises UsageError where addresses of the operator's machine would lead to somebody else, who would be sent the token."""
        from matrix_client.kubernetes_operator import find_operator

        found = await find_operator(self.api, self.default_namespace)
        if found is None or found.host != socket.gethostname():
            where = f"machine {found.host}" if found and found.host else "another machine, or on none"
            raise UsageError(f"{cluster.key} is reached on the operator's machine alone, and that runs on {where}: ask it there")

    async def _forwarded(self, cluster: StoredObject, endpoint: str) -> str:
        key = (cluster.uid, endpoint)
        if key not in self._forwardings:
            self._forwardings[key] = await self.forward(cluster, endpoint)
        with suppress(Unavailable):
            await self._forwardings[key].find()
        return self._forwardings[key].address


def _scope(cluster: StoredObject, endpoint: str) -> str:
    """From where it can be reached; empty if it is not published."""
    endpoints = cluster.raw.get("status", {}).get("endpoints") or ()
    return next((str(entry.get("scope", "")) for entry in endpoints if entry["name"] == endpoint), "")


def published(cluster: StoredObject, endpoint: str) -> str:
    """The URL of that name in the cluster's status. Raises NotReady, and UsageError with the names that there are."""
    endpoints = {str(entry["name"]): str(entry["url"]) for entry in cluster.raw.get("status", {}).get("endpoints") or ()}
    if not endpoints:
        raise NotReady(cluster.key, "", f"it has no addresses yet; see `matrix why {cluster.key}`")
    if endpoint not in endpoints:
        raise UsageError(f"{cluster.key} has no endpoint {endpoint!r}; there is {', '.join(endpoints)}")
    return endpoints[endpoint]
