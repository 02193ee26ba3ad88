"""What is checked before anything starts: each failure names the numbers and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.journal import NodeTemplate, Template
from matrix_operator.backends.local.machine import Machine
from matrix_operator.backends.port import BackendRefusal


def check_supported(spec: MatrixClusterSpec) -> None:
    """Raises BackendRefusal for what one machine can't do. Sections for other backends (a group's `kubernetes`, `slurm`) don't matter."""
    for index, group in enumerate(spec.worker_groups):
        if group.autoscale is not None:
            message = (
                f"spec.workerGroups[{index}].autoscale works on Kubernetes only; write `replicas: {max(group.autoscale.min, 1)}` instead"
            )
            raise BackendRefusal(ClusterReason.NOT_SUPPORTED, message)


def check_ray(template: Template, machine: Machine) -> None:
    """Raises BackendRefusal unless the Ray that is asked for is the one installed beside this program."""
    wanted = template.ray_version
    install = f"{sys.executable} -m pip install 'ray[default,serve]=={wanted}'"
    if machine.ray_version is None:
        raise BackendRefusal(ClusterReason.RAY_VERSION_MISMATCH, f"Ray is not installed in this environment; run {install}")
    if machine.ray_version != wanted:
        fact = f"spec.ray.version is {wanted}, but Ray {machine.ray_version} is installed"
        raise BackendRefusal(ClusterReason.RAY_VERSION_MISMATCH, f"{fact}; write `version: {machine.ray_version}`, or run {install}")


def check_capacity(running: Iterable[NodeTemplate], starting: Iterable[NodeTemplate], machine: Machine, free_gpus: int) -> None:
    """`running` nodes count for cores; memory and GPUs that they hold are not available any more. Raises BackendRefusal."""
    starting = list(starting)
    cpus = sum(node.cpus for node in [*running, *starting])
    if cpus > machine.cpus:
        raise _insufficient(
            f"the nodes want {cpus} CPUs, this machine has {machine.cpus}", "lower spec.head.resources.cpu or the workers' cpu or replicas"
        )
    memory = sum(node.memory for node in starting)
    if memory > machine.memory:
        fact = f"the nodes to start want {_gib(memory)} of memory, {_gib(machine.memory)} is available on this machine"
        raise _insufficient(fact, "lower their resources.memory, or end what uses it")
    gpus = sum(node.gpus for node in starting)
    if gpus > free_gpus:
        fact = f"the nodes to start want {gpus} GPUs, {free_gpus} of this machine's {len(machine.gpu_ids)} are free"
        raise _insufficient(fact, "lower their resources.gpu, delete another cluster, or widen CUDA_VISIBLE_DEVICES")


def _insufficient(fact: str, advice: str) -> BackendRefusal:
    return BackendRefusal(ClusterReason.INSUFFICIENT_RESOURCES, f"{fact}; {advice}")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
