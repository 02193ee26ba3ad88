"""The hash of what can't change without making nodes anew. Pure.

Hashed is what the user asks for, not the pods rendered from it: the operator's settings, its default image and whatever a later
operator renders differently are left out, so that an upgrade of the operator alone never asks for new nodes. (The image of a cluster
whose manifest names none is recorded in the RayCluster itself: its templates are kept as they are, see merge.py.)

What is not given is left out, so a field that comes later does not change old hashes. What has a default is written out, since a
default (Ray's version) may differ between releases while the stored object keeps the old one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from matrix_crds import quantity
from matrix_crds.cluster import KubernetesBackend, MatrixClusterSpec, ModelCache, Resources, Storage, WorkerGroup


def template_hash(spec: MatrixClusterSpec) -> str:
    """16 hexadecimal digits. How many workers there are (replicas, autoscale's numbers), suspend and the policies do not matter."""
    canonical = json.dumps(_template(spec), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def kubernetes_of(spec: MatrixClusterSpec) -> KubernetesBackend:
    """The backend's section: a manifest without one means the same as an empty one."""
    return (spec.backend.kubernetes if spec.backend else None) or KubernetesBackend()


def autoscales(spec: MatrixClusterSpec) -> bool:
    """Whether Ray's autoscaler runs beside the head: it can't be added to a head that is there."""
    return any(group.autoscale is not None for group in spec.worker_groups)


def _template(spec: MatrixClusterSpec) -> dict[str, Any]:
    backend = kubernetes_of(spec)
    return _given(
        ray=spec.ray.version,
        image=backend.image,
        serviceAccountName=backend.service_account_name,
        head=_resources(spec.head.resources),
        groups={group.name: _group(group) for group in spec.worker_groups},
        autoscaler=autoscales(spec),
        storage=_storage(spec.storage),
        modelCache=_model_cache(spec.model_cache),
    )


def _group(group: WorkerGroup) -> dict[str, Any]:
    return _given(
        resources=_resources(group.resources),
        accelerator=group.accelerator,
        rayResources=dict(group.ray_resources),
        template=group.kubernetes.template if group.kubernetes else None,
    )


def _resources(resources: Resources) -> dict[str, Any]:
    """By value: 4 and 4000m are the same."""
    cpu, memory = (str(quantity.parse(text).normalize()) for text in (resources.cpu, resources.memory))
    return _given(cpu=cpu, memory=memory, gpu=resources.gpu)


def _storage(storage: Storage | None) -> dict[str, Any] | None:
    """Only what is mounted: a uri is read by whoever writes there."""
    return storage.persistent_volume_claim.to_wire() if storage and storage.persistent_volume_claim else None


def _model_cache(cache: ModelCache | None) -> dict[str, Any] | None:
    return cache.to_wire() if cache else None


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
