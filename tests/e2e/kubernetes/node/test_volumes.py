"""Claims and directories of the node in real pods: what is kept there, who may write, and what is said when one is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix_operator.backends.kuberay.volumes import MODELS_DIRECTORY, STORAGE_DIRECTORY
from tests.e2e.kubernetes.node.world import CLUSTER, SECONDS, World, at_work
from tests.lab.provision import Cluster

pytestmark = pytest.mark.timeout(3 * SECONDS)
USER = 1000
"""Of the pods."""
ALONE: dict[str, Any] = {"head": {"resources": {"cpu": "1", "memory": "2Gi"}}, "workerGroups": []}


class Volumes:
    """Directories of the node, which is on this machine, as PersistentVolumes; there is no provisioner."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._directory = directory
        self._made: list[str] = []

    def directory(self, name: str, owner: int = USER) -> Path:
        """A new one, which others than its owner may read."""
        made = self._directory / name
        made.mkdir(mode=0o755)
        os.chown(made, owner, owner)
        return made

    def volume(self, name: str, directory: Path) -> None:
        """For the claim of that name alone."""
        spec = self._spec() | {
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": str(directory), "type": "Directory"},
            "claimRef": {"namespace": self._world.namespace, "name": name},
        }
        self._world.cluster.api.create("/api/v1/persistentvolumes", {"metadata": {"name": self._volume(name)}, "spec": spec})
        self._made.append(self._volume(name))

    def claim(self, name: str) -> None:
        spec = self._spec() | {"volumeName": self._volume(name), "resources": {"requests": {"storage": "1Gi"}}}
        path = f"/api/v1/namespaces/{self._world.namespace}/persistentvolumeclaims"
        self._world.cluster.api.create(path, {"metadata": {"name": name}, "spec": spec})

    def clean(self) -> None:
        for name in self._made:
            self._world.cluster.api.delete(f"/api/v1/persistentvolumes/{name}")

    def _volume(self, name: str) -> str:
        return f"{self._world.namespace}-{name}"

    @staticmethod
    def _spec() -> dict[str, Any]:
        return {"accessModes": ["ReadWriteMany"], "storageClassName": ""}


@pytest.fixture(scope="module")
def world(pods_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A namespace with an operator, without a cluster."""
    if pods_cluster.node is None:
        pytest.skip("the volumes are directories of the lab's own node")
    with at_work(pods_cluster, tmp_path_factory.mktemp("operator")) as world:
        yield world


@pytest.fixture
def volumes(world: World, tmp_path: Path) -> Iterator[Volumes]:
    made = Volumes(world, tmp_path)
    try:
        yield made
    finally:
        if world.cluster.api.exists(world.path("MatrixCluster", CLUSTER)):
            world.end()
        made.clean()


def claimed(name: str, path: str = "") -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name} | ({"path": path} if path else {})}


def test_what_pods_write_is_in_the_claims_and_outlives_the_cluster(world: World, volumes: Volumes) -> None:
    results, models = volumes.directory("results"), volumes.directory("models")
    for name, directory in (("results", results), ("models", models)):
        volumes.volume(name, directory)
        volumes.claim(name)
    spec = {"storage": claimed("results", "lab/run-1"), "modelCache": claimed("models")}
    world.create(**spec)
    world.ready()
    world.exec(world.pod("worker"), "sh", "-c", f"echo found > {STORAGE_DIRECTORY}/worker && echo weights > {MODELS_DIRECTORY}/model")
    world.exec(world.pod("head"), "sh", "-c", f"echo fine > {STORAGE_DIRECTORY}/head")
    kept = {results / "lab/run-1/worker": "found\n", results / "lab/run-1/head": "fine\n", models / "model": "weights\n"}
    assert {path: path.read_text() for path in kept} == kept
    assert {path.stat().st_uid for path in (*kept, results / "lab/run-1")} == {USER}
    world.end()
    world.create(**spec)
    world.ready()
    places = (f"{STORAGE_DIRECTORY}/worker", f"{STORAGE_DIRECTORY}/head", f"{MODELS_DIRECTORY}/model")
    for node_type in ("head", "worker"):
        assert world.exec(world.pod(node_type), "cat", *places) == ["found", "fine", "weights"]


def test_a_claim_that_is_missing_and_then_has_no_volume_is_told(world: World, volumes: Volumes) -> None:
    world.create(**ALONE, storage=claimed("late"))
    world.says('persistentvolumeclaim "late" not found')
    assert "make the claim" in world.words()
    volumes.claim("late")
    world.says("unbound immediate PersistentVolumeClaims")
    assert f"kubectl describe pvc -n {world.namespace}" in world.words()
    volumes.volume("late", volumes.directory("late"))
    world.ready()
    world.exec(world.pod("head"), "touch", f"{STORAGE_DIRECTORY}/here")


def test_directories_that_are_missing_or_of_another_user_are_told(world: World, volumes: Volumes, tmp_path: Path) -> None:
    results = volumes.directory("roots", owner=0)
    volumes.volume("roots", results)
    volumes.claim("roots")
    models = tmp_path / "models-of-the-node"
    world.create(**ALONE, storage=claimed("roots", "run"), modelCache={"hostPath": {"path": str(models)}})
    world.says(f"{models} is not a directory")
    assert not models.exists()
    models.mkdir()
    os.chown(models, USER, USER)
    world.says("Permission denied")
    os.chown(results, USER, USER)
    world.ready()
    world.exec(world.pod("head"), "touch", f"{STORAGE_DIRECTORY}/here", f"{MODELS_DIRECTORY}/here")
    assert (results / "run" / "here").exists() and (models / "here").exists()
