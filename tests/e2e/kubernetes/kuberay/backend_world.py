"""A KubeRayBackend that follows a real API server, and what the tests of it need around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from matrix_crds.cluster import Allocation, AllocationKind, MatrixCluster
from matrix_operator.backends.kuberay.backend import KubeRayBackend
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.paths import one
from matrix_operator.backends.kuberay.reach import Inside
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from matrix_operator.backends.port import Observation, RemovalState
from matrix_operator.looks import Present
from matrix_store.errors import NotFound
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import connect
from matrix_store.kubernetes.store import KubernetesStore
from tests.lab.control_plane import ControlPlane

SECONDS = 60.0
SETTINGS = KubeRaySettings(image="example.org/matrix:test")

Value = TypeVar("Value")


@dataclass(frozen=True)
class BackendWorld:
    api: Api
    store: KubernetesStore
    backend: KubeRayBackend
    namespace: str

    async def cluster(self, name: str = "lab", **spec: Any) -> MatrixCluster:
        """Applied, as it is stored."""
        manifest = {
            "apiVersion": "matrix.dev/v1alpha1",
            "kind": "MatrixCluster",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"workerGroups": [{"name": "cpu", "replicas": 1}], **spec},
        }
        stored, _ = await self.store.apply(manifest)
        return self._typed(stored.resource)

    async def deleted(self, cluster: MatrixCluster) -> MatrixCluster:
        """The object, held by a finalizer and marked for deletion."""
        stored = await self.store.get(cluster.key)
        await self.store.set_finalizers(stored.key, ["matrix.dev/test"], resource_version=stored.resource_version)
        await self.store.delete(cluster.key)
        return self._typed((await self.store.get(cluster.key)).resource)

    async def read(self, kind: str, name: str) -> Object | None:
        try:
            return await self.api.get(one(kind, self.namespace, name))
        except NotFound:
            return None

    async def ensured(self, cluster: MatrixCluster) -> None:
        await self.backend.ensure(cluster, self.allocation(cluster))

    def allocation(self, cluster: MatrixCluster) -> Allocation:
        name, hashed = cluster.metadata.name, self.backend.template_hash(cluster)
        return Allocation(kind=AllocationKind.RAY_CLUSTER, name=name, template_hash=hashed)

    async def seen(self, cluster: MatrixCluster, when: Callable[[Observation], bool] = lambda _: True) -> Observation:
        """What the backend tells of it, once it is as wanted."""

        async def look() -> Observation | None:
            found = await self.backend.observe(cluster)
            return found.state if isinstance(found, Present) and when(found.state) else None

        return await eventually(look)

    async def removed(self, cluster: MatrixCluster) -> None:
        """Returns when it says that nothing is left."""

        async def step() -> bool:
            return (await self.backend.remove(cluster)).state is RemovalState.GONE

        await eventually(step)

    @staticmethod
    def _typed(resource: object) -> MatrixCluster:
        assert isinstance(resource, MatrixCluster)
        return resource


@asynccontextmanager
async def backend_world(plane: ControlPlane, namespace: str) -> AsyncIterator[BackendWorld]:
    api = Api(connect(kubeconfig=plane.kubeconfig))
    store = KubernetesStore.open(kubeconfig=plane.kubeconfig)
    backend = KubeRayBackend(api, SETTINGS, Inside(), [namespace])
    running = asyncio.create_task(backend.run())
    try:
        await eventually(lambda: _now(backend.complete), running)
        yield BackendWorld(api, store, backend, namespace)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await store.close()
        await api.close()


async def eventually(look: Callable[[], Awaitable[Value | None]], running: asyncio.Task[None] | None = None) -> Value:
    """What `look` gives, once it is true. Fails after SECONDS, or when what runs beside has ended."""
    async with asyncio.timeout(SECONDS):
        while not (found := await look()):
            if running is not None and running.done():
                running.result()
            await asyncio.sleep(0.02)
        return found


async def _now(value: Value) -> Value:
    return value
