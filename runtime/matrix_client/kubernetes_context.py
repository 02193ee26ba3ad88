"""The context `kubernetes`: the objects live in a cluster's API server, where an operator works on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from matrix_client.errors import UsageError
from matrix_store.port import Store, StoredObject

if TYPE_CHECKING:
    from matrix_proto.keys import ApiKeys


class KubernetesContext:
    """Implements matrix_client.context.Context. `name`: a context of the kubeconfig; None for its current one."""

    def __init__(self, name: str | None = None, kubeconfig: Path | None = None) -> None:
        self._name = name
        self._kubeconfig = kubeconfig
        self._store: Store | None = None

    @property
    def default_namespace(self) -> str:
        from matrix_store.kubernetes.connection import configured

        return configured(self._name, self._kubeconfig).namespace

    async def store(self) -> Store:
        from matrix_store.kubernetes.store import KubernetesStore

        if self._store is None:
            self._store = KubernetesStore.open(self._name, self._kubeconfig)
        return self._store

    def client_token(self, cluster: StoredObject) -> str:
        raise UsageError(f"{cluster.key}: this version reads no tokens of clusters on Kubernetes; use the context `local`")

    async def read_keys(self, cluster: StoredObject) -> ApiKeys:
        raise UsageError(f"{cluster.key}: this version knows no keys of clusters on Kubernetes; use the context `local`")

    async def change_keys(self, cluster: StoredObject, change: Callable[[ApiKeys], ApiKeys]) -> ApiKeys:
        return await self.read_keys(cluster)

    async def refuse_elsewhere(self) -> None:
        """Everything is started in the cluster."""

    async def ensure_controller(self) -> None:
        """The operator is the cluster's: it is installed, not started from here."""

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None
