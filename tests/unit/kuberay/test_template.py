"""The hash of what can't change without making nodes anew."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_crds.cluster import MatrixClusterSpec
from matrix_operator.backends.kuberay.template import template_hash
from tests.unit.kuberay.manifests import GPU, SPECS

GOLDEN = {
    "minimal": "c78069b661383cf7",
    "gpu": "47520b45eed5c43a",
    "autoscale": "cdf5e52484192fa3",
    "kueue": "06db6cd61d64cb08",
    "volumes": "9d74d57011505850",
    "host-path": "33342bda22b667d1",
    "empty-dir": "0c30e98f85903aab",
    "template": "3bd0502f78d7368f",
}
"""Hashes of clusters that run somewhere: a release that gives others would hold back, or make anew, every one of them."""

WORKERS = {"workerGroups": [GPU]}


def hashed(spec: dict[str, Any]) -> str:
    return template_hash(MatrixClusterSpec.model_validate(spec))


@pytest.mark.parametrize("name", SPECS)
def test_an_upgrade_of_the_operator_alone_changes_no_hash(name: str) -> None:
    stored = SPECS[name] | {"ray": {"version": "2.60.0"}}  # an API server writes defaults out
    assert hashed(stored) == GOLDEN[name]


def test_ray_of_the_time_is_part_of_it_though_it_is_a_default() -> None:
    """The stored object keeps the version that was the default when it was made, while the default moves on."""
    assert hashed({"ray": {"version": "2.60.0"}}) == hashed({})
    assert hashed({"ray": {"version": "2.61.0"}}) != hashed({})


@pytest.mark.parametrize(
    "same",
    [
        {"workerGroups": [GPU | {"replicas": 9}]},
        {"workerGroups": [GPU | {"replicas": 0}]},
        {"workerGroups": [GPU | {"resources": {"cpu": "31.5", "memory": "204800Mi", "gpu": 8}}]},
        {"workerGroups": [GPU | {"slurm": {"partition": "big"}}]},
        WORKERS | {"suspend": True},
        WORKERS | {"deletionPolicy": "Orphan"},
        WORKERS | {"upgradePolicy": {"type": "Recreate", "restartedAt": "2026-01-31T12:00:00Z"}},
        WORKERS | {"backend": {"kubernetes": {}}},
        WORKERS | {"storage": {"uri": "s3://bucket/lab"}},
    ],
)
def test_what_changes_no_pod_is_not_part_of_it(same: dict[str, Any]) -> None:
    assert hashed(same) == hashed(WORKERS)


@pytest.mark.parametrize(
    "other",
    [
        WORKERS | {"head": {"resources": {"cpu": 3}}},
        {"workerGroups": [GPU | {"name": "other"}]},
        {"workerGroups": [GPU | {"resources": {"cpu": 1, "memory": "200Gi", "gpu": 8}}]},
        {"workerGroups": [GPU | {"resources": {"cpu": "31500m", "memory": "200Gi", "gpu": 4}}]},
        {"workerGroups": [GPU | {"accelerator": "MI300X"}]},
        {"workerGroups": [GPU | {"rayResources": {"sandbox-slots": 9}}]},
        {"workerGroups": [GPU | {"kubernetes": {"template": {"spec": {"nodeSelector": {"disk": "fast"}}}}}]},
        {"workerGroups": [GPU, {"name": "more"}]},
        {"workerGroups": [{name: value for name, value in GPU.items() if name != "replicas"} | {"autoscale": {"max": 4}}]},
        WORKERS | {"backend": {"kubernetes": {"image": "example.org/own:3"}}},
        WORKERS | {"backend": {"kubernetes": {"serviceAccountName": "trainer"}}},
        WORKERS | {"storage": {"persistentVolumeClaim": {"claimName": "results"}}},
        WORKERS | {"modelCache": {"hostPath": {"path": "/data"}}},
    ],
)
def test_what_makes_other_pods_is_part_of_it(other: dict[str, Any]) -> None:
    assert hashed(other) != hashed(WORKERS)


def test_the_numbers_of_a_group_that_autoscales_are_not_part_of_it() -> None:
    one, other = (
        {"workerGroups": [{"name": "w", "autoscale": scale}]} for scale in ({"max": 4}, {"min": 2, "max": 9, "idleTimeoutSeconds": 5})
    )
    assert hashed(one) == hashed(other)
