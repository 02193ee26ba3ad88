"""What befalls a cluster on Kubernetes: each fault has its reason in words, and heals when its cause is gone."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from matrix_operator.backends.kuberay.paths import collection, one
from matrix_store.port import StoredObject
from tests.e2e.kubernetes.kuberay.backend_world import SETTINGS, eventually
from tests.e2e.kubernetes.kuberay.engine_world import World, run
from tests.e2e.kubernetes.kuberay.ray_clusters import LONG, MERGE
from tests.lab.api import CRDS, wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.kuberay.faults import OUT_OF_MEMORY, Ended
from tests.lab.kuberay.standin import InThread
from tests.unit.store.conformance import watching
from tests.unit.store.support import is_synced, until


def test_a_ray_cluster_that_was_deleted_behind_its_back_comes_again(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.cluster(1)
        await there.until(cluster)
        before = await there.pods()
        kuberay.set(kuberay.standin.pace, readying=LONG)
        await there.api.delete(one("RayCluster", namespace, "lab"), {})
        await there.until(cluster, status="False")
        kuberay.set(kuberay.standin.pace, readying=0.0)
        await there.until(cluster)
        assert len(await there.pods()) == 2
        assert not set(before) & set(await there.pods())

    run(control_plane, namespace, kuberay, body)


def test_a_head_that_was_deleted(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster, model = await there.cluster(1), await there.model()
        await there.until(cluster)
        await there.until(model)
        kuberay.set(kuberay.standin.pace, readying=LONG)
        [head], [worker] = await there.pods("head"), await there.pods("worker")
        await there.later_than_the_start_of(worker)
        await there.delete_pod(head)
        await there.until(cluster, status="False", reason="Recovering")
        kuberay.set(kuberay.standin.pace, readying=0.0)
        # Its worker looks well, and is not: it ends by itself, since the head that it knows is gone.
        assert await there.pods("worker") == [worker]
        await there.until(cluster, status="False", says="it still holds to a former head")
        await there.do(lambda standin: standin.end_container((namespace, worker), Ended()))
        await there.until(cluster)
        await there.until(model)
        assert await there.pods("head") != [head]

    run(control_plane, namespace, kuberay, body)


def test_a_machine_that_goes_silent_and_comes_back(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.cluster(1)
        await there.until(cluster)
        [worker] = await there.pods("worker")
        machine = (await there.api.get(one("Pod", namespace, worker)))["spec"]["nodeName"]
        await there.do(lambda standin: standin.kubelet.silence(machine))
        try:
            await there.until(cluster, status="False", says=f"its machine {machine} does not answer")
            assert await there.pods("worker") == [worker]  # unknown is not gone
        finally:
            await there.do(lambda standin: standin.kubelet.revive(machine))
        await there.until(cluster)

    run(control_plane, namespace, kuberay, body)


def test_a_token_that_is_missing_is_made_again(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.cluster()
        await there.until(cluster)
        [head] = await there.pods("head")
        await there.api.delete(one("Secret", namespace, "lab-ray-token"), {})
        kuberay.set(kuberay.standin.pace, readying=LONG)
        await there.delete_pod(head)
        await there.until(cluster, status="False")
        kuberay.set(kuberay.standin.pace, readying=0.0)
        await there.until(cluster)
        assert (await there.api.get(one("Secret", namespace, "lab-ray-token")))["data"]["auth_token"]

    run(control_plane, namespace, kuberay, body)


@pytest.mark.parametrize("name", ["lab-ray-token", "lab-client-token"])
def test_a_token_that_was_deleted_beside_a_running_head_is_made_again_with_what_the_head_has(
    control_plane: ControlPlane, namespace: str, kuberay: InThread, name: str
) -> None:
    async def body(there: World) -> None:
        cluster, secret = await there.cluster(1), one("Secret", namespace, name)
        await there.until(cluster)
        before, [head] = await there.api.get(secret), await there.pods("head")
        await there.api.delete(secret, {})
        async with watching(there.store, cluster.kind) as changes:  # it is said for a moment only
            await until(changes, is_synced)
            await there.cluster(2)  # its pod can't start without
            await until(changes, lambda change: f'secret "{name}" not found' in told_by(change.object))
        await there.until(cluster)
        after = await there.api.get(secret)
        assert after["data"] == before["data"] and after["metadata"]["uid"] != before["metadata"]["uid"]
        assert await there.pods("head") == [head] and len(await there.pods("worker")) == 2

    run(control_plane, namespace, kuberay, body, ahead=timedelta(seconds=7))


def test_crds_of_an_older_kuberay_are_told_and_it_goes_on_when_they_are_updated(
    control_plane: ControlPlane, namespace: str, kuberay: InThread
) -> None:
    path = f"{CRDS}/rayclusters.ray.io"
    versions = control_plane.api.get(path)["spec"]["versions"]
    older = deepcopy(versions)
    for version in older:
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].pop("authOptions", None)
    attempt = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "attempt"}, "spec": {"authOptions": {}}}

    def known() -> bool:
        tried = control_plane.api.http.post(f"{collection('RayCluster', namespace)}?dryRun=All&fieldValidation=Strict", json=attempt)
        return 'unknown field "spec.authOptions"' not in tried.json()["message"]

    def serve(serves: list[dict[str, Any]]) -> None:
        control_plane.api.http.patch(path, json={"spec": {"versions": serves}}, headers=MERGE).raise_for_status()

    async def body(there: World) -> None:
        serve(older)
        try:
            wait_for(lambda: not known(), "the older schema is served", 30)
            cluster = await there.cluster(1)
            await there.until(cluster, status="False", reason="KubeRaySilent", says="do not know spec.authOptions of a RayCluster; update")
        finally:
            serve(versions)
            wait_for(known, "the schema is served again", 30)
        await there.until(await there.cluster(2))  # a change brings the next look at once
        await there.cluster(3)

        async def grown() -> bool:
            return len(await there.pods()) == 4

        await eventually(grown)
        kept = (await there.ray_cluster())["spec"]["authOptions"]
        assert kept == {"mode": "token", "secretName": "lab-ray-token"}, "what a watch from before does not show is not lost"

    run(control_plane, namespace, kuberay, body)


def test_an_image_that_can_not_be_pulled(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        missing = kuberay.standin.ailments.missing_images
        missing.add(SETTINGS.image)
        try:
            cluster = await there.cluster()
            await there.until(cluster, status="False", reason="ImagePullFailed", says=SETTINGS.image)
        finally:
            missing.clear()
        await there.until(cluster)

    run(control_plane, namespace, kuberay, body)


def test_a_secret_that_a_volume_needs_is_named_and_waited_for(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    """The pod's status does not say what it lacks: the kubelet's events do."""

    async def body(there: World) -> None:
        volumes = [{"name": "licence", "secret": {"secretName": "licence"}}]
        group = {"name": "g", "replicas": 1, "kubernetes": {"template": {"spec": {"volumes": volumes}}}}
        cluster = await there.apply("MatrixCluster", "lab", {"workerGroups": [group]})
        words = 'MountVolume.SetUp failed for volume "licence" : secret "licence" not found; make it'
        await there.until(cluster, status="False", says=words)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "licence"}}
        await there.api.create(collection("Secret", namespace), secret)
        await there.until(cluster)

    run(control_plane, namespace, kuberay, body, ahead=timedelta(seconds=7))


def test_a_quota_that_is_too_small(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}}
        path = f"/api/v1/namespaces/{namespace}/resourcequotas"
        await there.api.create(path, quota)

        async def counted() -> bool:
            return bool((await there.api.get(f"{path}/small")).get("status"))

        await eventually(counted)
        cluster = await there.cluster(1)
        await there.until(cluster, status="False", says="exceeded quota: small")
        await there.api.delete(f"{path}/small", {})
        await there.until(cluster)

    run(control_plane, namespace, kuberay, body)


def test_workers_that_are_evicted_or_run_out_of_memory(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster = await there.cluster(1)
        await there.until(cluster)
        [worker] = await there.pods("worker")
        kuberay.set(kuberay.standin.pace, readying=LONG)
        await there.do(lambda standin: standin.evict((namespace, worker)))
        await there.until(cluster, status="False")
        kuberay.set(kuberay.standin.pace, readying=0.0)
        await there.until(cluster)
        [another] = await there.pods("worker")
        assert another != worker
        kuberay.set(kuberay.standin.pace, restarting=LONG)
        await there.do(lambda standin: standin.end_container((namespace, another), OUT_OF_MEMORY))
        await there.until(cluster, status="False", says="OOMKilled")
        kuberay.set(kuberay.standin.pace, restarting=0.0)
        await there.until(cluster)
        assert await there.pods("worker") == [another]

    run(control_plane, namespace, kuberay, body)


def test_a_kuberay_that_does_nothing_is_named(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    """It may be down for minutes: what runs goes on, what is new waits and says for what."""

    async def body(there: World) -> None:
        kuberay.set(kuberay.standin.faults, down=True)
        cluster = await there.cluster(1)
        await there.until(cluster, status="False", reason="KubeRaySilent", says="KubeRay has not acted on the RayCluster")
        kuberay.set(kuberay.standin.faults, down=False)
        await there.until(cluster)

    run(control_plane, namespace, kuberay, body, ahead=timedelta(minutes=1))


def test_a_status_that_lies_deceives_nobody(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        kuberay.set(kuberay.standin.faults, lies={"state": "ready", "readyWorkerReplicas": 2, "availableWorkerReplicas": 2})
        kuberay.set(kuberay.standin.pace, readying=LONG)
        cluster = await there.cluster(2)
        await there.until(cluster, status="False", reason="Starting")
        await eventually(lambda: lies(there))
        await there.until(cluster, status="False", reason="Starting")
        kuberay.set(kuberay.standin.pace, readying=0.0)
        await there.until(cluster)

    run(control_plane, namespace, kuberay, body)


def told_by(stored: StoredObject | None) -> str:
    """What Ready says of a cluster."""
    conditions = (stored.raw.get("status") or {}).get("conditions") or () if stored else ()
    return next((str(item["message"]) for item in conditions if item["type"] == "Ready"), "")


async def lies(there: World) -> bool:
    """Of both workers, before either is ready."""
    return ((await there.ray_cluster()).get("status") or {}).get("readyWorkerReplicas") == 2


def test_a_status_that_is_not_written_any_more_holds_nothing_up(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        kuberay.set(kuberay.standin.faults, status_frozen=True)
        cluster = await there.cluster(1)
        await there.until(cluster)
        assert not (await there.ray_cluster()).get("status")

    run(control_plane, namespace, kuberay, body)


def test_a_name_that_is_taken_until_its_owner_lets_go_of_it(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        container = {"name": "ray-head", "image": "example.org/theirs"}
        theirs = {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}}
        body = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "lab"}, "spec": theirs}
        await there.api.create(collection("RayCluster", namespace), body)
        cluster = await there.cluster()
        await there.until(cluster, status="False", reason="NameTaken", says="was not made by this operator")
        await there.api.delete(one("RayCluster", namespace, "lab"), {})
        await there.until(cluster)

    run(control_plane, namespace, kuberay, body)


def test_a_dashboard_that_talks_nonsense_ends_nothing(control_plane: ControlPlane, namespace: str, kuberay: InThread) -> None:
    async def body(there: World) -> None:
        cluster, model = await there.cluster(1), await there.model()
        await there.until(cluster)
        await there.until(model)
        before = await there.pods()
        mine = there.ray.children[f"{namespace}.lab"]
        mine.broken = (200, '{"error": "out of order"}')
        there.ray.broken = mine.broken
        await there.until(cluster, status="Unknown", reason="DashboardUnreachable")
        assert await there.pods() == before
        there.ray.broken = mine.broken = None
        await there.until(cluster)
        await there.until(model)

    run(control_plane, namespace, kuberay, body)
