"""The engine with the KubeRay backend, on a real API server with a stand-in for KubeRay and a fake Ray for each cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from matrix_crds.cluster import AllocationKind
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.kuberay.backend import KubeRayBackend
from matrix_operator.backends.kuberay.paths import collection, one
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
from tests.lab.kuberay.standin import InThread, StandIn

SECONDS = 240.0
API_VERSION = "matrix.dev/v1alpha1"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
"""Answered with the time at which it was made, and kept nowhere."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    store: KubernetesStore
    api: Api
    namespace: str
    ray: FakeRay
    kuberay: InThread

    async def cluster(self, *groups: int, **spec: Any) -> ObjectKey:
        """`lab`, with so many workers in each group g0, g1, ..."""
        workers = [{"name": f"g{number}", "replicas": count} for number, count in enumerate(groups)]
        return await self.apply("MatrixCluster", "lab", {"workerGroups": workers, **spec})

    async def model(self) -> ObjectKey:
        spec = {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "model": {"source": "file:///models/m"}}
        return await self.apply("ModelDeployment", "m", spec)

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

    async def pods(self, node_type: str = "") -> list[str]:
        """Their names, of one type (head, worker) or all."""
        selector = {"labelSelector": f"ray.io/node-type={node_type}"} if node_type else {}
        items, _ = await self.api.list_all(collection("Pod", self.namespace), **selector)
        return sorted(item["metadata"]["name"] for item in items)

    async def delete_pod(self, name: str) -> None:
        await self.api.delete(one("Pod", self.namespace, name), {})

    async def later_than_the_start_of(self, pod: str) -> None:
        """Once the API server's clock has left the second in which the pod's container was started: times have whole seconds, and what
        is made within it counts as no later."""
        found = await self.api.get(one("Pod", self.namespace, pod))
        started = datetime.fromisoformat(found["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])

        async def left() -> bool:
            return datetime.fromisoformat((await self.api.create(REVIEWS, REVIEW))["metadata"]["creationTimestamp"]) > started

        await eventually(left)

    async def ray_cluster(self) -> dict[str, Any]:
        return await self.api.get(one("RayCluster", self.namespace, "lab"))

    async def do(self, action: Callable[[StandIn], Awaitable[Value]]) -> Value:
        """Has the stand-in do something."""
        return await asyncio.to_thread(self.kuberay.do, action)


@asynccontextmanager
async def world(
    plane: ControlPlane, namespace: str, ray: FakeRay, kuberay: InThread, ahead: timedelta = timedelta()
) -> AsyncIterator[World]:
    """`ahead`: how far the backend's clock goes before the true one."""
    api = Api(connect(kubeconfig=plane.kubeconfig))
    store = KubernetesStore.open(kubeconfig=plane.kubeconfig, namespace=namespace)
    backend = KubeRayBackend(api, SETTINGS, FakeReach(ray.url), [namespace], lambda: datetime.now(UTC) + ahead)
    backends = Backends("kopf", "kubernetes", {"kubernetes": BackendChoice("Kubernetes", AllocationKind.RAY_CLUSTER, backend)})
    stop = asyncio.Event()
    engine = Engine(store, backends, ControllerMetrics(), keep_running=True)
    tasks = [asyncio.create_task(backend.run()), asyncio.create_task(engine.run(stop))]
    try:
        yield World(store, api, namespace, ray, kuberay)
        assert not any(task.done() for task in tasks)
    finally:
        stop.set()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()
        await api.close()


def run(
    plane: ControlPlane, namespace: str, kuberay: InThread, body: Callable[[World], Awaitable[None]], ahead: timedelta = timedelta()
) -> None:
    """A body of a test, with an engine that works on the namespace."""

    async def main(ray: FakeRay) -> None:
        async with asyncio.timeout(SECONDS), world(plane, namespace, ray, kuberay, ahead) as there:
            await body(there)

    with ray_of(kuberay) as ray:
        asyncio.run(main(ray))
