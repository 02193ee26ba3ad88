"""The life of a cluster on Kubernetes, from a manifest to Ready and back to nothing, and what its user changes on the way."""

from __future__ import annotations

from matrix_operator.backends.kuberay.paths import collection, one
from tests.e2e.kubernetes.kuberay.backend_world import eventually
from tests.e2e.kubernetes.kuberay.engine_world import World, run
from tests.lab.control_plane import ControlPlane
from tests.lab.kuberay.standin import InThread


def test_from_a_manifest_to_ready_and_back_to_nothing(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster, model = await there.cluster(2), await there.model()
        await there.until(cluster)
        await there.until(model)
        assert len(await there.pods()) == 3
        await there.store.delete(model)
        await there.store.delete(cluster)
        await there.gone(cluster)
        assert await there.pods() == []
        for kind in ("Secret", "Service"):
            assert (await there.api.list_all(collection(kind, namespace), labelSelector="matrix.dev/uid"))[0] == []

    run(control_plane, namespace, kuberay, body)


def test_shrinking_ends_the_workers_on_which_nothing_runs(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.cluster(3)
        await there.until(cluster)
        pods = [await there.api.get(one("Pod", namespace, name)) for name in await there.pods("worker")]
        oldest = min(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        busy = next(pod for pod in pods if pod is not oldest)  # it would not stay for its age
        there.ray.busy.add(busy["status"]["podIP"])
        await there.cluster(1)

        async def shrunk() -> bool:
            return await there.pods("worker") == [busy["metadata"]["name"]]

        await eventually(shrunk)
        await there.until(cluster)

        async def cleared() -> bool:
            strategy = (await there.ray_cluster())["spec"]["workerGroupSpecs"][0].get("scaleStrategy") or {}
            return not strategy.get("workersToDelete")

        await eventually(cleared)

    run(control_plane, namespace, kuberay, body)


def test_what_the_autoscaler_decided_outlives_our_writes(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        groups = [{"name": "auto", "autoscale": {"min": 0, "max": 9}}, {"name": "fixed", "replicas": 1}]
        cluster = await there.apply("MatrixCluster", "lab", {"workerGroups": groups})
        await there.until(cluster)
        await there.do(lambda standin: standin.autoscale((namespace, "lab"), 0, 7, []))
        await there.until(cluster, "WorkersReady", says="8/8")
        groups[1]["replicas"] = 2
        groups[0]["autoscale"] = {"min": 0, "max": 8}
        await there.apply("MatrixCluster", "lab", {"workerGroups": groups})
        await there.until(cluster, "WorkersReady", says="9/9")
        auto = (await there.ray_cluster())["spec"]["workerGroupSpecs"][0]
        assert (auto["replicas"], auto["maxReplicas"]) == (7, 8)

    run(control_plane, namespace, kuberay, body)


def test_a_suspended_cluster_has_no_pods_and_comes_back(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.cluster(1)
        await there.until(cluster)
        await there.cluster(1, suspend=True)
        await there.until(cluster, status="False", reason="Suspended")

        async def ended() -> bool:
            return await there.pods() == []

        await eventually(ended)
        await there.cluster(1)
        await there.until(cluster)

    run(control_plane, namespace, kuberay, body)


def test_a_change_of_the_nodes_is_held_back_until_it_is_wanted(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.cluster(1)
        await there.until(cluster)
        before = await there.pods()
        larger = {"resources": {"cpu": 2, "memory": "2Gi"}}
        await there.cluster(1, head=larger)
        await there.until(cluster, "UpToDate", "False", "TemplateChanged")
        assert await there.pods() == before
        await there.cluster(1, head=larger, upgradePolicy={"type": "Recreate"})
        await there.until(cluster, "UpToDate")
        await there.until(cluster)
        assert not set(before) & set(await there.pods())

    run(control_plane, namespace, kuberay, body)


def test_an_orphan_runs_on_without_its_object(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.cluster(1, deletionPolicy="Orphan")
        await there.until(cluster)
        before = await there.pods()
        await there.store.delete(cluster)
        await there.gone(cluster)
        assert (await there.ray_cluster())["metadata"].get("ownerReferences") is None
        assert await there.pods() == before
        again = await there.cluster(1)  # one of the same name does not take it over
        await there.until(again, status="False", reason="NameTaken", says="kubectl delete raycluster lab")
        companions = (("Secret", "lab-ray-token"), ("Secret", "lab-client-token"), ("Service", "lab-gateway"))
        for kind, name in (("RayCluster", "lab"), *companions):
            await there.api.delete(one(kind, namespace, name), {})
        await there.until(again)

    run(control_plane, namespace, kuberay, body)
