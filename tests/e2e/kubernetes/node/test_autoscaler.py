"""Ray's own autoscaler beside a real head: workers come with the work and go without it, and nothing that we write changes their number."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.kubernetes.node.world import CLUSTER, MODEL, SECONDS, World, at_work
from tests.lab.provision import Cluster

pytestmark = pytest.mark.timeout(3 * SECONDS)
IDLE_SECONDS = 20


def groups(most: int) -> list[dict[str, Any]]:
    autoscale = {"min": 0, "max": most, "idleTimeoutSeconds": IDLE_SECONDS}
    resources = {"cpu": "500m", "memory": "1536Mi"}
    return [{"name": "burst", "autoscale": autoscale, "resources": resources, "rayResources": {"slots": 2}}]


@pytest.fixture(scope="module")
def world(pods_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A namespace with an operator, and in it a cluster without any worker, Ready."""
    if not pods_cluster.kuberay:
        pytest.skip("there is no KubeRay on this cluster")
    with at_work(pods_cluster, tmp_path_factory.mktemp("operator")) as world:
        # 1.3 CPUs with the autoscaler's, so that a worker fits beside it on a machine with two.
        world.create_cluster(head={"resources": {"cpu": "800m", "memory": "2Gi"}}, workerGroups=groups(2))
        world.wait(lambda: is_ready(world), "the cluster is Ready")
        yield world


def is_ready(world: World) -> bool:
    return world.condition("MatrixCluster", CLUSTER).get("status") == "True"


def group(world: World) -> dict[str, Any]:
    """As the RayCluster has it."""
    path = f"/apis/ray.io/v1/namespaces/{world.namespace}/rayclusters/{CLUSTER}"
    found: dict[str, Any] = world.cluster.api.get(path)["spec"]["workerGroupSpecs"][0]
    return found


def without_workers(world: World) -> bool:
    return not world.pods("worker") and group(world)["replicas"] == 0 and world.workers() == "0/0" and is_ready(world)


def test_a_worker_comes_with_a_model_and_goes_without_it(world: World) -> None:
    assert without_workers(world)
    begun = time.monotonic()
    world.create_model()
    world.wait(lambda: group(world)["replicas"] == 1, "the autoscaler asks for a worker")
    asked = time.monotonic()
    world.ready()
    print(f"\nasked for after {asked - begun:.0f} s, Ready after {time.monotonic() - begun:.0f} s")
    assert world.workers() == "1/1" and world.answer()

    worker = world.pod("worker")
    world.edit("MatrixCluster", CLUSTER, workerGroups=groups(1))
    world.wait(lambda: group(world)["maxReplicas"] == 1, "the RayCluster follows the edit")
    world.ready()
    assert group(world)["replicas"] == 1 and world.pod("worker") == worker and world.workers() == "1/1"

    begun = time.monotonic()
    world.edit("ModelDeployment", MODEL, replicas=0)
    world.wait(lambda: without_workers(world), "the worker is gone")
    print(f"gone after {time.monotonic() - begun:.0f} s, of which {IDLE_SECONDS} s idle")
    assert worker in group(world)["scaleStrategy"]["workersToDelete"]

    world.edit("ModelDeployment", MODEL, replicas=1)
    world.wait(lambda: len(world.pods("worker")) == 1, "another worker comes")
    world.ready()
    assert world.pod("worker") != worker and world.answer()
    world.cluster.api.delete(world.path("ModelDeployment", MODEL))
    world.wait(lambda: without_workers(world), "the other worker is gone as well")


def test_an_autoscaler_that_ended_is_told_and_comes_with_another_head(world: World) -> None:
    node = world.cluster.node
    if node is None:
        pytest.skip("only on the lab's own node its process can be killed")
    world.wait(lambda: without_workers(world), "nothing runs")
    node.signal(node.processes("ray kuberay-autoscaler")[0], "KILL")  # its container's first: the others end with it
    world.says("nobody starts it again, so no group grows or shrinks")
    head = world.pod("head")
    world.delete_pod(head)
    world.create_model()
    world.ready()
    assert world.pod("head") != head and world.workers() == "1/1"
