"""The engine with the KubeRay backend, on a real API server with a stand-in for KubeRay: from a manifest to Ready, and what befalls it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from matrix_crds.cluster import AllocationKind
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.kuberay.backend import KubeRayBackend
from matrix_operator.backends.kuberay.paths import one
from matrix_operator.engines.loop import Engine
from matrix_operator.metrics import ControllerMetrics
from matrix_store.errors import NotFound
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import connect
from matrix_store.kubernetes.store import KubernetesStore
from tests.e2e.kubernetes.kuberay.backend_world import SETTINGS, eventually
from tests.e2e.kubernetes.kuberay.fake_reach import FakeReach, ray_of
from tests.fakes.ray_server import FakeRay
from tests.lab.control_plane import ControlPlane
from tests.lab.kuberay.standin import InThread

SECONDS = 60.0
API_VERSION = "matrix.dev/v1alpha1"


@dataclass(frozen=True)
class World:
    store: KubernetesStore
    api: Api
    namespace: str
    ray: FakeRay

    async def apply(self, kind: str, name: str, spec: dict[str, Any]) -> ObjectKey:
        metadata = {"name": name, "namespace": self.namespace}
        stored, _ = await self.store.apply({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
        return stored.key

    async def until(self, key: ObjectKey, type_: str = "Ready", status: str = "True", reason: str = "", says: str = "") -> dict[str, Any]:
        """The condition, once it is so."""

        async def look() -> dict[str, Any] | None:
            conditions = ((await self.store.get(key)).raw.get("status") or {}).get("conditions") or ()
            found = next((item for item in conditions if item["type"] == type_), {})
            right = found.get("status") == status and reason in ("", found.get("reason")) and says in found.get("message", "")
            return dict(found) if right else None

        try:
            return await eventually(look)
        except TimeoutError:
            raise AssertionError((await self.store.get(key)).raw.get("status")) from None

    async def gone(self, key: ObjectKey) -> None:
        async def look() -> bool:
            try:
                await self.store.get(key)
            except NotFound:
                return True
            return False

        await eventually(look)

    async def pods(self) -> list[str]:
        items, _ = await self.api.list_all(f"/api/v1/namespaces/{self.namespace}/pods")
        return sorted(item["metadata"]["name"] for item in items)


@asynccontextmanager
async def world(plane: ControlPlane, namespace: str, ray: FakeRay) -> AsyncIterator[World]:
    api = Api(connect(kubeconfig=plane.kubeconfig))
    store = KubernetesStore.open(kubeconfig=plane.kubeconfig, namespace=namespace)
    backend = KubeRayBackend(api, SETTINGS, FakeReach(ray.url), [namespace])
    backends = Backends("kopf", "kubernetes", {"kubernetes": BackendChoice("Kubernetes", AllocationKind.RAY_CLUSTER, backend)})
    stop = asyncio.Event()
    engine = Engine(store, backends, ControllerMetrics(), keep_running=True)
    tasks = [asyncio.create_task(backend.run()), asyncio.create_task(engine.run(stop))]
    try:
        yield World(store, api, namespace, ray)
        assert not any(task.done() for task in tasks)
    finally:
        stop.set()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()
        await api.close()


def run(plane: ControlPlane, namespace: str, kuberay: InThread, body: Callable[[World], Awaitable[None]]) -> None:
    async def main(ray: FakeRay) -> None:
        async with asyncio.timeout(SECONDS), world(plane, namespace, ray) as there:
            await body(there)

    with ray_of(kuberay) as ray:
        asyncio.run(main(ray))


def test_from_a_manifest_to_ready_and_back_to_nothing(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.apply("MatrixCluster", "lab", {"workerGroups": [{"name": "cpu", "replicas": 2}]})
        model = await there.apply(
            "ModelDeployment", "m", {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "model": {"source": "file:///models/m"}}
        )
        await there.until(cluster)
        await there.until(model)
        assert len(await there.pods()) == 3
        await there.store.delete(model)
        await there.store.delete(cluster)
        await there.gone(cluster)
        assert await there.pods() == []
        assert await there.store.list("ModelDeployment", there.namespace) == []

    run(control_plane, namespace, kuberay, body)


def test_a_ray_cluster_that_was_deleted_behind_its_back_comes_again(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.apply("MatrixCluster", "lab", {"workerGroups": [{"name": "cpu", "replicas": 1}]})
        await there.until(cluster)
        before = await there.pods()
        await there.api.delete(one("RayCluster", there.namespace, "lab"), {})
        await there.until(cluster, status="False")
        await there.until(cluster)
        assert len(await there.pods()) == 2
        assert not set(before) & set(await there.pods())

    run(control_plane, namespace, kuberay, body)
