"""What the KubeRay backend writes, keeps and deletes on a real API server. No KubeRay acts here, unless a test asks for it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest

from matrix_crds.cluster import MatrixClusterStatus
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.backend import KubeRayBackend
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.paths import collection, one
from matrix_operator.backends.kuberay.reach import Inside
from matrix_operator.backends.port import BackendRefusal, RemovalState
from matrix_operator.looks import Absent, Present
from tests.e2e.kubernetes.kuberay.backend_world import SECONDS, SETTINGS, BackendWorld, backend_world, eventually
from tests.lab.control_plane import ControlPlane

MADE = [("Secret", "lab-ray-token"), ("Secret", "lab-client-token"), ("Service", "lab-gateway")]


def run(plane: ControlPlane, namespace: str, body: Callable[[BackendWorld], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(3 * SECONDS), backend_world(plane, namespace) as world:
            await body(world)

    asyncio.run(main())


def owners(found: Object | None) -> list[str]:
    assert found is not None
    return [owner["uid"] for owner in found["metadata"].get("ownerReferences") or ()]


def test_a_cluster_from_nothing_to_nothing(control_plane: ControlPlane, namespace: str) -> None:
    async def body(world: BackendWorld) -> None:
        cluster = await world.cluster()
        assert await world.backend.observe(cluster) == Absent()
        await world.ensured(cluster)
        seen = await world.seen(cluster)
        assert seen.allocation.template_hash == world.allocation(cluster).template_hash
        for kind, name in [*MADE, ("RayCluster", "lab")]:
            assert owners(await world.read(kind, name)) == [cluster.metadata.uid]
        secret = await world.read("Secret", "lab-client-token")
        address = await world.backend.address(cluster)
        assert secret and address
        assert base64.b64decode(secret["data"]["token"]).decode() == address.client_token
        deleted = await world.deleted(cluster)
        await world.removed(deleted)
        assert [await world.read(kind, name) for kind, name in [*MADE, ("RayCluster", "lab")]] == [None] * 4

    run(control_plane, namespace, body)


def test_a_second_time_nothing_is_written(control_plane: ControlPlane, namespace: str) -> None:
    async def body(world: BackendWorld) -> None:
        cluster = await world.cluster()
        await world.ensured(cluster)
        await world.seen(cluster)
        await eventually(lambda: service_known(world))
        before = [await world.read(kind, name) for kind, name in [*MADE, ("RayCluster", "lab")]]
        for _ in range(3):
            await world.ensured(cluster)
        assert [await world.read(kind, name) for kind, name in [*MADE, ("RayCluster", "lab")]] == before

    async def service_known(world: BackendWorld) -> bool:
        cluster = await world.cluster()
        return len(world.backend._of(cluster).services(cluster)) == 1

    run(control_plane, namespace, body)


def test_tokens_that_are_there_are_kept(control_plane: ControlPlane, namespace: str) -> None:
    """Another operator finds them; a cluster that is made anew has the same."""

    async def body(world: BackendWorld) -> None:
        cluster = await world.cluster()
        await world.ensured(cluster)
        await world.seen(cluster)
        first = await world.backend.address(cluster)
        await world.removed(cluster)  # made anew: it is not being deleted
        assert await world.read("RayCluster", "lab") is None
        async with backend_world(control_plane, namespace) as another:
            await another.ensured(cluster)
            await another.seen(cluster)
            assert await another.backend.address(cluster) == first

    run(control_plane, namespace, body)


@pytest.mark.parametrize("kind", ["RayCluster", "Service", "Secret"])
def test_what_others_made_under_our_names_stays_theirs(control_plane: ControlPlane, namespace: str, kind: str) -> None:
    name = {"RayCluster": "lab", "Service": "lab-gateway", "Secret": "lab-ray-token"}[kind]
    bodies: dict[str, Object] = {
        "RayCluster": {"apiVersion": "ray.io/v1", "spec": {"headGroupSpec": {"template": {"spec": {"containers": []}}}}},
        "Service": {"apiVersion": "v1", "spec": {"ports": [{"port": 80}]}},
        "Secret": {"apiVersion": "v1", "stringData": {"key": "theirs"}},
    }

    async def body(world: BackendWorld) -> None:
        theirs = await world.api.create(collection(kind, namespace), bodies[kind] | {"kind": kind, "metadata": {"name": name}})
        cluster = await world.cluster()
        with pytest.raises(BackendRefusal, match=f"kubectl delete {kind.lower()} {name}") as refused:
            await world.ensured(cluster)
        assert refused.value.reason is ClusterReason.NAME_TAKEN
        await world.removed(await world.deleted(cluster))
        assert await world.read(kind, name) == theirs

    run(control_plane, namespace, body)


def test_orphans_outlive_their_object(control_plane: ControlPlane, namespace: str) -> None:
    """Also when the policy was changed while the cluster ran: the garbage collector takes nothing."""

    async def body(world: BackendWorld) -> None:
        cluster = await world.cluster()
        await world.ensured(cluster)
        await world.seen(cluster)
        orphan = await world.deleted(await world.cluster(deletionPolicy="Orphan"))
        assert (await world.backend.let_go(orphan)).state is RemovalState.GONE
        stored = await world.store.get(orphan.key)
        await world.store.set_finalizers(stored.key, [], resource_version=stored.resource_version)
        await eventually(lambda: gone(world))
        beacon = await world.api.create(collection("Secret", namespace), owned_by_nobody(orphan.metadata.uid))
        await eventually(lambda: collected(world, beacon["metadata"]["name"]))  # the collector has been at work
        for kind, name in [*MADE, ("RayCluster", "lab")]:
            assert owners(await world.read(kind, name)) == []

    async def gone(world: BackendWorld) -> bool:
        return not await world.store.list("MatrixCluster", namespace)

    async def collected(world: BackendWorld, name: str) -> bool:
        return await world.read("Secret", name) is None

    def owned_by_nobody(uid: str) -> Object:
        owner = {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "name": "lab", "uid": uid}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "beacon", "ownerReferences": [owner]}}

    run(control_plane, namespace, body)


def test_what_was_made_a_moment_ago_is_not_gone(control_plane: ControlPlane, namespace: str) -> None:
    """The watches may lag behind what was written: before a cluster is called gone, the API server is asked."""

    async def body(world: BackendWorld) -> None:
        cluster = await world.deleted(await world.cluster())
        control_plane.api_server.stop()  # frozen: nothing is heard of from here on
        try:
            asking = asyncio.create_task(world.backend.remove(cluster))
            await asyncio.wait([asking], timeout=0.5)
            assert not asking.done()
        finally:
            control_plane.api_server.cont()
        assert (await asking).state is RemovalState.GONE

    run(control_plane, namespace, body)


def test_what_another_has_made_is_not_absent_though_the_watch_has_not_told(control_plane: ControlPlane, namespace: str) -> None:
    """As it is for a moment after another operator has taken over. What nobody has begun to make is not asked for."""

    async def body(world: BackendWorld) -> None:
        cluster = await world.cluster()
        deaf = KubeRayBackend(world.api, SETTINGS, Inside(), [namespace])
        following = asyncio.create_task(deaf.run())
        await eventually(lambda: complete(deaf), following)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await world.ensured(cluster)
        assert isinstance(await deaf.observe(cluster), Absent)
        begun = cluster.model_copy(update={"status": MatrixClusterStatus(allocation=world.allocation(cluster))})
        assert isinstance(await deaf.observe(begun), Present)

    async def complete(backend: KubeRayBackend) -> bool:
        return backend.complete

    run(control_plane, namespace, body)


def test_a_changed_number_of_workers_is_written_under_the_version_that_was_read(control_plane: ControlPlane, namespace: str) -> None:
    async def body(world: BackendWorld) -> None:
        cluster = await world.cluster()
        await world.ensured(cluster)
        await world.seen(cluster)
        await world.api.merge(one("RayCluster", namespace, "lab"), {"metadata": {"labels": {"team": "theirs"}}})
        wider = await world.cluster(workerGroups=[{"name": "cpu", "replicas": 3}])

        async def widened() -> Object | None:
            await world.ensured(wider)
            found = await world.read("RayCluster", "lab")
            return found if found and found["spec"]["workerGroupSpecs"][0]["replicas"] == 3 else None

        found = await eventually(widened)
        assert found["metadata"]["labels"]["team"] == "theirs"
        assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {"matrix"}

    run(control_plane, namespace, body)
