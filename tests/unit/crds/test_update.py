"""What may not change after creation, and what an apply takes from a manifest."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_crds.errors import ManifestError
from matrix_crds.validation import applicable, parse, validate

SLURM = {"slurm": {"site": "fair"}}


def cluster(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "metadata": {"name": "lab"}, "spec": spec}


def deployment(cluster_name: str, **spec: Any) -> dict[str, Any]:
    head = {"apiVersion": "matrix.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "chat"}}
    return head | {"spec": {"clusterRef": {"name": cluster_name}, "engine": {"dummy": {}}} | spec}


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (cluster(), cluster(backend={"local": {}}), "spec.backend"),
        (cluster(backend={"local": {}}), cluster(), "spec.backend"),
        (cluster(backend={"local": {}}), cluster(backend=SLURM), "spec.backend"),
        (cluster(backend=SLURM), cluster(backend={"slurm": {"site": "other"}}), "spec.backend"),
        (deployment("a"), deployment("b"), "spec.clusterRef"),
    ],
)
def test_an_immutable_field_can_not_be_set_unset_or_changed(old: Any, new: Any, path: str) -> None:
    with pytest.raises(ManifestError, match="make it anew") as caught:
        validate(new, old=parse(old))
    assert [problem.path for problem in caught.value.problems] == [path]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (cluster(), cluster(suspend=True)),
        (cluster(backend=SLURM), cluster(backend={"slurm": {"site": "fair", "profile": "default"}})),
        (cluster(backend={"kubernetes": {}}), cluster(backend={"kubernetes": {"image": None}})),
        (deployment("a"), deployment("a", replicas=3)),
    ],
)
def test_everything_else_may_change_and_a_default_written_out_is_no_change(old: Any, new: Any) -> None:
    validate(new, old=parse(old))


def test_a_broken_update_tells_all_of_it() -> None:
    with pytest.raises(ManifestError) as caught:
        validate(cluster(backend=SLURM) | {"metadata": {"name": "lab", "lables": {}}}, old=parse(cluster()))
    assert {problem.path for problem in caught.value.problems} == {"metadata.lables", "spec.backend"}


def test_an_apply_takes_only_what_a_user_sets() -> None:
    raw = cluster(suspend=True, backend=None) | {"status": {"summary": "x"}}
    raw["metadata"] |= {"uid": "u", "labels": {"a": "b"}, "finalizers": ["x/y"], "resourceVersion": "3"}
    assert applicable(raw) == cluster(suspend=True) | {"metadata": {"name": "lab", "labels": {"a": "b"}}}


def test_a_stored_object_keeps_metadata_and_status_whoever_wrote_them() -> None:
    raw = cluster() | {"status": {"summary": "x", "ofALaterVersion": {"a": 1}}}
    raw["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-31T12:00:00Z", "managedFields": []}
    resource = parse(raw)
    assert resource.metadata.uid == "u" and resource.metadata.creation_timestamp is not None
    assert resource.to_wire()["status"]["summary"] == "x"


def test_a_stored_object_of_a_later_version_is_refused_in_our_words() -> None:
    with pytest.raises(ManifestError, match=r"spec\.gravity: is not a field of spec"):
        parse(cluster(gravity=1))
