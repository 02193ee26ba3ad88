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
from matrix_crds.cluster import MatrixClusterSpec, ModelCache, Resources, WorkerGroup


def slurm_template_hash(spec: MatrixClusterSpec) -> str:
    """16 hexadecimal digits. How many workers there are, where results go, and the policies do not matter; site and profile can't be
    changed."""
    canonical = json.dumps(_template(spec), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _template(spec: MatrixClusterSpec) -> dict[str, Any]:
    return _given(
        ray=spec.ray.version,
        head=_resources(spec.head.resources),
        groups={group.name: _group(group) for group in spec.worker_groups},
        modelCache=_model_cache(spec.model_cache),
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


def _model_cache(cache: ModelCache | None) -> str | None:
    """Only what is a directory here: a volume claim or emptyDir of the same manifest is for Kubernetes."""
    return cache.host_path.path if cache and cache.host_path else None


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
