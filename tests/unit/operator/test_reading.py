"""How far an object can be read that does not parse."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_crds.cluster import DeletionPolicy, MatrixCluster
from matrix_crds.constants import API_VERSION
from matrix_crds.deployment import ModelDeployment
from matrix_crds.errors import ManifestError
from matrix_operator.reconcile.cache import cluster_key
from matrix_operator.reconcile.reading import read, readable_status
from matrix_store.port import StoredObject

ALLOCATION = {"kind": "SlurmJobs", "name": "mx-1", "attempt": 3}
SLURM = {"slurm": {"site": "hpc"}}


def stored(spec: Any, status: Any = None, kind: str = "MatrixCluster", **metadata: Any) -> StoredObject:
    body = {"name": "lab", "namespace": "default", "uid": "u", "generation": 4, "resourceVersion": "9"} | metadata
    return StoredObject({"apiVersion": API_VERSION, "kind": kind, "metadata": body, "spec": spec, "status": status})


def deleted(spec: Any, status: Any = None, **metadata: Any) -> StoredObject:
    return stored(spec, status, deletionTimestamp="2026-06-01T12:00:00Z", finalizers=["matrix.dev/teardown"], **metadata)


def test_a_status_is_read_without_what_each_look_makes_anew() -> None:
    endpoints = [{"name": "openai", "url": "http://x/v1", "scope": "Galaxy"}]
    status = {"backend": "Moon", "endpoints": endpoints, "allocation": ALLOCATION, "ray": {"version": "2.60.0"}, "later": 1}
    cluster = read(stored({}, status))
    assert isinstance(cluster, MatrixCluster)
    assert (cluster.status.backend, cluster.status.endpoints) == (None, ())
    assert cluster.status.allocation is not None and cluster.status.allocation.attempt == 3
    assert cluster.status.ray is not None and cluster.status.ray.version == "2.60.0"


@pytest.mark.parametrize("status", [{"allocation": {**ALLOCATION, "kind": "Moons"}}, {"allocation": {}}, {"allocation": "mx-1"}, ["mx-1"]])
@pytest.mark.parametrize("make", [stored, deleted])
def test_an_allocation_that_can_not_be_read_is_not_taken_for_none(make: Any, status: Any) -> None:
    with pytest.raises(ManifestError, match="status"):
        read(make({"deletionPolicy": "Delete"}, status))


def test_the_same_of_a_model() -> None:
    spec = {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}}
    model = read(stored(spec, {"allocation": {"attempt": 2}, "replicas": "many"}, "ModelDeployment"))
    assert isinstance(model, ModelDeployment) and model.status.allocation is not None
    assert (model.status.allocation.attempt, model.status.replicas.ready) == (2, 0)
    with pytest.raises(ManifestError, match=r"status\.allocation\.attempt"):
        read(stored(spec, {"allocation": {"attempt": "two"}}, "ModelDeployment"))


def test_of_a_cluster_that_goes_its_policy_and_its_backend_are_enough() -> None:
    spec = {"speed": 9, "head": 1, "backend": SLURM, "deletionPolicy": "Orphan"}
    cluster = read(deleted(spec, {"allocation": ALLOCATION}, labels={"a b": "not a label"}))
    assert isinstance(cluster, MatrixCluster)
    assert cluster.deleting and cluster.spec.deletion_policy is DeletionPolicy.ORPHAN
    assert cluster.spec.backend is not None and cluster.spec.backend.slurm is not None
    assert cluster.status.allocation is not None and cluster.metadata.uid == "u"
    with pytest.raises(ManifestError, match="speed"):
        read(stored(spec))


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"speed": 9}, "deletionPolicy"),
        ({"speed": 9, "deletionPolicy": None}, "deletionPolicy"),
        ({"deletionPolicy": "Keep"}, "deletionPolicy"),
        ({"deletionPolicy": "Delete", "backend": {"moon": {}}}, "backend"),
        ({"deletionPolicy": "Delete", "backend": "slurm"}, "backend"),
        ({"deletionPolicy": "Delete", "backend": {"slurm": {}}}, "backend"),
        ({"deletionPolicy": "Delete", "backend": SLURM | {"local": {}}}, "backend"),
        ("all of it", "spec"),
    ],
)
def test_neither_of_them_is_guessed(spec: Any, place: str) -> None:
    with pytest.raises(ManifestError, match=place):
        read(deleted(spec))


@pytest.mark.parametrize("value", [None, 3, "text", [], {}, {"clusterRef": "lab"}, {"allocation": 3, "conditions": "none"}])
def test_nothing_that_is_stored_makes_reading_fail(value: Any) -> None:
    for kind in ("MatrixCluster", "ModelDeployment"):
        odd = stored(value, value, kind)
        assert cluster_key(odd) is None
        assert readable_status(odd).conditions == ()
