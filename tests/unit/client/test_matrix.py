"""`Matrix` and `AsyncMatrix`: apply, get, list, wait, delete, events, typed by the resource model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix_client import Matrix, MatrixCluster, ModelDeployment, Progress
from matrix_client.errors import UsageError, WaitTimeout
from matrix_crds.base import ObjectMeta
from matrix_crds.errors import ManifestError, UnknownKind
from matrix_store.errors import NotFound
from tests.unit.client.worlds import CHAT, LAB, World, manifest, new_world, ready

TWO = """
kind: MatrixCluster
apiVersion: matrix.dev/v1alpha1
metadata: {name: lab}
---
kind: ModelDeployment
apiVersion: matrix.dev/v1alpha1
metadata: {name: chat}
spec: {clusterRef: {name: lab}, model: {source: "hf://org/model"}, engine: {dummy: {}}}
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = new_world(tmp_path)
    with world.controller():
        yield world


@pytest.fixture
def matrix(world: World) -> Iterator[Matrix]:
    with Matrix(home=world.home.root) as matrix:
        yield matrix


def test_an_object_is_applied_and_comes_back_typed(matrix: Matrix) -> None:
    applied = matrix.apply(MatrixCluster(metadata=ObjectMeta(name="lab")))

    assert applied.metadata.generation == 1
    assert matrix.get(MatrixCluster, "lab").spec == applied.spec
    assert isinstance(matrix.get("mxc", "lab"), MatrixCluster)
    assert [cluster.metadata.name for cluster in matrix.list(MatrixCluster)] == ["lab"]
    assert matrix.list("mxd") == []


def test_a_wire_form_is_applied(matrix: Matrix) -> None:
    assert isinstance(matrix.apply(manifest(CHAT)), ModelDeployment)


def test_a_file_is_applied_whole_or_not_at_all(matrix: Matrix, world: World, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(TWO.replace("clusterRef", "clusterref"))
    with pytest.raises(ManifestError, match=r"lab\.yaml:9"):
        matrix.apply(file)
    assert world.find(LAB) is None

    file.write_text(TWO)
    assert [resource.key for resource in matrix.apply(str(file))] == [LAB, CHAT]


def test_the_namespace_is_for_what_names_none(world: World, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(TWO)
    with Matrix(home=world.home.root, namespace="team") as matrix:
        matrix.apply(file)

    assert world.find(LAB) is None
    assert world.find(LAB._replace(namespace="team")) is not None


def test_wait_returns_the_object_and_tells_the_progress(matrix: Matrix, world: World) -> None:
    world.put(LAB, ready())
    heard: list[Progress] = []

    cluster = matrix.wait(LAB, on_progress=heard.append)

    assert isinstance(cluster, MatrixCluster)
    assert [progress.done for progress in heard] == [True]


def test_delete_waits_for_the_confirmation(matrix: Matrix, world: World) -> None:
    world.put(LAB, ready())
    world.keep(LAB)

    with pytest.raises(WaitTimeout, match="still there"):
        matrix.delete(LAB, timeout=0.3)
    world.let_go(LAB)
    assert matrix.wait(LAB, "delete", timeout=5) is None
    with pytest.raises(NotFound):
        matrix.delete(LAB)


def test_what_happened_is_told(matrix: Matrix, world: World) -> None:
    world.put(LAB, ready())
    world.tell(LAB, "Starting", "the head")

    assert [event.reason for event in matrix.events(matrix.get(MatrixCluster, "lab"))] == ["Starting"]
    assert len(matrix.events()) == 1


def test_it_works_inside_a_running_event_loop(world: World) -> None:
    world.put(LAB, ready())

    async def notebook() -> list[MatrixCluster]:
        with Matrix(home=world.home.root) as matrix:
            return matrix.list(MatrixCluster)

    assert len(asyncio.run(notebook())) == 1


def test_names_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no context 'moon'"):
        Matrix("moon")
    with Matrix(home=tmp_path) as matrix:
        with pytest.raises(UnknownKind, match="no kind 'pod'"):
            matrix.get("pod", "x")
        with pytest.raises(UsageError, match=r"nowhere\.yaml can't be read"):
            matrix.apply("nowhere.yaml")
