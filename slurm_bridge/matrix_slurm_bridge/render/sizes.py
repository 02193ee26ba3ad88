"""What a node offers to Ray, and so what its job asks of Slurm. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from matrix_crds.cluster import MatrixClusterSpec, Resources, WorkerGroup
from matrix_crds.quantity import whole


@dataclass(frozen=True)
class NodeSize:
    cpus: int
    """Of the job."""
    ray_cpus: int
    """Those that Ray gives to tasks: 0 on a head that has workers."""
    memory: int
    """Bytes."""
    gpus: int
    accelerator: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)


def head_size(spec: MatrixClusterSpec) -> NodeSize:
    size = _size(spec.head.resources)
    return NodeSize(size.cpus, 0 if spec.worker_groups else size.cpus, size.memory, size.gpus)


def worker_size(group: WorkerGroup) -> NodeSize:
    size = _size(group.resources)
    return NodeSize(size.cpus, size.cpus, size.memory, size.gpus, group.accelerator, dict(group.ray_resources))


def _size(resources: Resources) -> NodeSize:
    cpus = max(whole(resources.cpu), 1)
    return NodeSize(cpus, cpus, whole(resources.memory), resources.gpu)
