"""What `ray start` is told of a node. Pure. KubeRay pastes the values into a shell command as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping

from matrix_crds.cluster import Resources, WorkerGroup
from matrix_crds.quantity import whole

_OBJECT_STORE_MINIMUM = 75 * 2**20  # Ray refuses less (ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES)
_OBJECT_STORE_MAXIMUM = 2 * 2**30


def head_params(resources: Resources, *, works: bool) -> dict[str, str]:
    """With worker groups the head takes no work: its num-cpus is 0."""
    return _params(resources, {}) | ({} if works else {"num-cpus": "0"})


def worker_params(group: WorkerGroup) -> dict[str, str]:
    accelerator = {f"accelerator_type:{group.accelerator}": 1.0} if group.accelerator else {}
    return _params(group.resources, {**group.ray_resources, **accelerator})


def _params(resources: Resources, further: Mapping[str, float]) -> dict[str, str]:
    """Written out, though KubeRay would guess most of it from the limits: Ray's accounting must be that of the manifest."""
    params = {"num-cpus": str(whole(resources.cpu)), "object-store-memory": str(_object_store_memory(whole(resources.memory)))}
    if resources.gpu:
        params["num-gpus"] = str(resources.gpu)
    if further:
        # In single quotes, as KubeRay writes it itself: no resource's name can have one.
        params["resources"] = f"'{json.dumps(_amounts(further), sort_keys=True)}'"
    return params


def _amounts(resources: Mapping[str, float]) -> dict[str, float]:
    """Whole ones without a point: Ray's autoscaler ends at its start where one is not an int (autoscaling_config.py)."""
    return {name: int(amount) if float(amount).is_integer() else amount for name, amount in resources.items()}


def _object_store_memory(memory: int) -> int:
    """Bytes for Ray's object store, which holds little here: requests and answers go around it."""
    return max(min(memory // 10, _OBJECT_STORE_MAXIMUM), _OBJECT_STORE_MINIMUM)
