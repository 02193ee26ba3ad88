"""Which clusters an operator may not leave behind."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_crds.constants import FINALIZER
from matrix_operator.retirement import NotRetired, on_slurm, refuse_slurm
from matrix_store.port import StoredObject


def stored(name: str, spec: Any, finalizers: tuple[str, ...] = (FINALIZER,)) -> StoredObject:
    metadata = {"name": name, "namespace": "team", "finalizers": [*finalizers]}
    return StoredObject({"kind": "MatrixCluster", "metadata": metadata, "spec": spec})


@pytest.mark.parametrize(
    ("raw", "is_so"),
    [
        ({}, False),
        ({"spec": None}, False),
        ({"spec": {}}, False),
        ({"spec": {"backend": None}}, False),
        ({"spec": {"backend": {"kubernetes": {}}}}, False),
        ({"spec": {"backend": {"slurm": {}}}}, True),
        ({"spec": {"backend": {"slurm": {"site": "fair", "of-a-later-version": 1}}}}, True),
    ],
)
def test_a_cluster_on_slurm_is_known_whatever_else_is_in_it(raw: dict[str, Any], is_so: bool) -> None:
    assert on_slurm(raw) is is_so


def test_clusters_on_kubernetes_and_those_without_our_finalizer_can_be_left() -> None:
    refuse_slurm([stored("a", {}), stored("b", {"backend": {"slurm": {}}}, ("other/one",))])


def test_those_on_slurm_are_named_and_many_are_counted() -> None:
    far = [stored(f"far-{number}", {"backend": {"slurm": {}}}) for number in range(8)]
    with pytest.raises(NotRetired) as refused:
        refuse_slurm([stored("near", {}), *far])
    text = str(refused.value)
    assert text.startswith("MatrixCluster/team/far-0, ")
    assert "MatrixCluster/team/far-5 and 2 more: jobs on Slurm would have nobody who ends them" in text
    assert "near" not in text
