"""What makes new jobs, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_crds.slurm_template import slurm_template_hash
from tests.unit.slurm_render.builders import GPU_GROUP, spec

BASE = spec(workerGroups=[GPU_GROUP])


def test_it_stays_the_same_from_release_to_release() -> None:
    assert slurm_template_hash(BASE) == "7842ee6980410e95"


@pytest.mark.parametrize(
    "fields",
    [
        {"ray": {"version": "2.61.0"}},
        {"head": {"resources": {"memory": "8Gi"}}},
        {"workerGroups": []},
        {"workerGroups": [GPU_GROUP | {"accelerator": "A100"}]},
        {"workerGroups": [GPU_GROUP | {"slurm": {"partition": "other"}}]},
        {"workerGroups": [GPU_GROUP | {"rayResources": {}}]},
        {"modelCache": {"hostPath": {"path": "/data"}}},
    ],
)
def test_what_needs_new_jobs_changes_it(fields: dict[str, Any]) -> None:
    assert slurm_template_hash(spec(**{"workerGroups": [GPU_GROUP]} | fields)) != slurm_template_hash(BASE)


@pytest.mark.parametrize(
    "fields",
    [
        {"workerGroups": [GPU_GROUP | {"replicas": 7}]},
        {"workerGroups": [GPU_GROUP | {"resources": {"cpu": "15.5", "memory": "120Gi", "gpu": 2}}]},
        {"deletionPolicy": "Orphan"},
        {"upgradePolicy": {"type": "Recreate"}},
        {"modelCache": {"emptyDir": {}}},
        {"workerGroups": [GPU_GROUP | {"kubernetes": {"template": {"spec": {}}}}]},
    ],
)
def test_what_does_not_leaves_it(fields: dict[str, Any]) -> None:
    assert slurm_template_hash(spec(**{"workerGroups": [GPU_GROUP]} | fields)) == slurm_template_hash(BASE)
