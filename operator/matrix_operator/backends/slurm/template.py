"""The hash of what can't change without submitting all jobs anew. Pure.

Hashed is what the user asks for, not the job scripts rendered from it: a site's profile, or a later bridge that renders differently, must
never ask for new jobs by itself. What is not given is left out, so a field that comes later does not change old hashes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from matrix_crds import quantity
from matrix_crds.cluster import MatrixClusterSpec, ModelCache, Resources, SlurmBackend, WorkerGroup


def template_hash(spec: MatrixClusterSpec) -> str:
    """16 hexadecimal digits. How many workers there are and the policies do not matter; site and profile can't be changed."""
    canonical = json.dumps(_template(spec), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def slurm_of(spec: MatrixClusterSpec) -> SlurmBackend:
    """The backend's section. Whoever calls has chosen this backend by it."""
    assert spec.backend is not None and spec.backend.slurm is not None
    return spec.backend.slurm


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
