"""Ray in real pods: a cluster gets ready, is hurt in every part, says so, and comes right by itself. Each test leaves it Ready."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix_client import Matrix
from tests.e2e.kubernetes.node.world import CLUSTER, MODEL, SECONDS, World, operator
from tests.lab.processes import end_all
from tests.lab.provision import Cluster

pytestmark = pytest.mark.timeout(2 * SECONDS)
UNPULLABLE = "registry.invalid/matrix:none"
SMALL: dict[str, Any] = {"head": {"resources": {"cpu": "100m", "memory": "1Gi"}}, "workerGroups": []}
"""Fits beside the first cluster on a machine with two CPUs."""


@pytest.fixture(autouse=True)
def _ready_before(world: World) -> None:
    world.ready()


@pytest.fixture(autouse=True)
def _timed(request: pytest.FixtureRequest, _ready_before: None) -> Iterator[None]:
    begun = time.monotonic()
    yield
    print(f"\n{request.node.name}: {time.monotonic() - begun:.0f} s")


def test_a_model_answers(world: World) -> None:
    assert world.answer()


def test_nothing_in_the_pods_is_root(world: World) -> None:
    for node_type in ("head", "worker"):
        users = {line.strip() for line in world.exec(world.pod(node_type), "ps", "-eo", "uid=")}
        assert users == {"1000"}


def test_a_deleted_worker_is_replaced(world: World) -> None:
    old = world.pod("worker")
    world.delete_pod(old)
    print(world.noticed())
    world.ready()
    assert world.pod("worker") != old


def test_a_worker_that_ends_finishes_what_it_has_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of 5 s is whole although its worker is deleted while it runs."""
    worker = world.pod("worker")
    assert any("mx-md-" in line for line in world.exec(worker, "ps", "-eo", "args=")), "the replica is not on the worker"
    monkeypatch.setenv("KUBECONFIG", str(world.cluster.kubeconfig))
    with Matrix("kubernetes", namespace=world.namespace) as matrix:
        stream = matrix.chat(MODEL, "hello", stream=True, max_tokens=1000, ignore_eos=True)
        next(stream)
        world.delete_pod(worker)
        words = sum(bool(delta.text) for delta in stream)
    assert words >= 998, "the stream broke off"
    world.ready()
    assert world.pod("worker") != worker


def test_a_dead_gcs_is_noticed_and_comes_back_in_the_same_pod(world: World) -> None:
    head = world.pod("head")
    world.exec(head, "pkill", "-KILL", "gcs_server")
    print(world.noticed())
    world.ready()
    assert world.pod("head") == head
    assert world.answer()


def test_a_deleted_head_is_replaced_and_the_models_come_back(world: World) -> None:
    old = world.pod("head")
    world.delete_pod(old)
    print(world.noticed())
    world.ready()
    assert world.pod("head") != old
    assert world.answer()


def test_a_kubelet_that_is_silent_makes_nothing_gone(world: World, pods_cluster: Cluster) -> None:
    """The node turns NotReady after 40 s; its pods go on, so nothing may be deleted or made anew."""
    node = pods_cluster.node
    if node is None:
        pytest.skip("only the lab's own node may be hurt")
    before = sorted(pod["metadata"]["uid"] for pod in world.pods())
    (kubelet,) = node.processes("kubelet --config")
    node.signal(kubelet, "STOP")
    try:
        world.wait(lambda: not node.is_ready(), "the node is not ready", 120)
        print(world.noticed())
    finally:
        node.signal(kubelet, "CONT")
    world.ready()
    assert sorted(pod["metadata"]["uid"] for pod in world.pods()) == before


def test_a_cluster_that_can_not_come_up_says_why(world: World) -> None:
    def why(name: str, words: str) -> None:
        try:
            world.says(words, name=name)
        finally:
            world.delete(name, name)
        world.wait(lambda: not world.cluster.api.exists(world.path("MatrixCluster", name)), f"{name} is gone")
        world.wait(lambda: not world.pods(name=name), f"the pods of {name} are gone")

    world.create("nowhere", "nowhere", head={"resources": {"cpu": "900", "memory": "1Gi"}})
    why("nowhere", "Insufficient cpu")
    world.create("unpullable", "unpullable", **SMALL, backend={"kubernetes": {"image": UNPULLABLE}})
    why("unpullable", "can't be pulled")


def test_a_namespace_is_deleted_with_all_that_runs_in_it(world: World, tmp_path: Path) -> None:
    api = world.cluster.api
    with world.cluster.namespace() as namespace:
        other = World(world.cluster, namespace, operator(world.cluster, namespace, tmp_path, lease_namespace=world.namespace))
        other.operator.start()
        try:
            other.create(**SMALL)
            other.wait(lambda: any(pod["status"].get("phase") == "Running" for pod in other.pods("head")), "its head runs")
            api.delete(f"/api/v1/namespaces/{namespace}")
            other.wait(lambda: not api.exists(f"/api/v1/namespaces/{namespace}"), "the namespace is gone")
        finally:
            end_all([other.operator])


def test_deleted_it_leaves_nothing_and_comes_again(world: World) -> None:
    world.delete()
    for kind, name in (("MatrixCluster", CLUSTER), ("ModelDeployment", MODEL)):
        world.wait(lambda kind=kind, name=name: not world.cluster.api.exists(world.path(kind, name)), f"{kind} is gone")  # type: ignore[misc]
    world.wait(lambda: not world.pods(), "its pods are gone")
    for collection in ("services", "secrets"):
        names = {item["metadata"]["name"] for item in world.cluster.api.get(f"/api/v1/namespaces/{world.namespace}/{collection}")["items"]}
        assert not {name for name in names if name.startswith(f"{CLUSTER}-")}
    world.create()
    world.ready()
