"""The hash of what can't change on Slurm without new jobs. Pure. Here, since the controller and a site's bridge must agree on it.

Hashed is what the user asks for, not the scripts rendered from it: a change of the site's own file, or of how a later bridge renders,
never asks for new jobs. What is not given is left out, so a field that comes later does not change old hashes. What has a default is
written out, since a default (Ray's version) may differ between releases while the stored object keeps the old one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from matrix_crds import quantity
from matrix_crds.cluster import MatrixClusterSpec, Resources, WorkerGroup


def slurm_template_hash(spec: MatrixClusterSpec) -> str:
    """16 hexadecimal digits. How many workers there are, where results and models go, and the policies do not matter."""
    canonical = json.dumps(_template(spec), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _template(spec: MatrixClusterSpec) -> dict[str, Any]:
    profile = spec.backend.slurm.profile if spec.backend and spec.backend.slurm else None
    return _given(
        ray=spec.ray.version,
        profile=profile,
        head=_resources(spec.head.resources),
        works=not spec.worker_groups,  # a head without workers does all the work
        groups={group.name: _group(group) for group in spec.worker_groups},
    )


def _group(group: WorkerGroup) -> dict[str, Any]:
    return _given(
        resources=_resources(group.resources),
        accelerator=group.accelerator,
        rayResources=dict(group.ray_resources),
        slurm=group.slurm.to_wire() if group.slurm else None,
    )


def _resources(resources: Resources) -> dict[str, Any]:
    """By value: 4 and 4000m are the same."""
    cpu, memory = (str(quantity.parse(text).normalize()) for text in (resources.cpu, resources.memory))
    return _given(cpu=cpu, memory=memory, gpu=resources.gpu)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
