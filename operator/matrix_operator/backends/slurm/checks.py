"""What is checked before a site is asked for anything: each refusal names the field and what to write."""

from __future__ import annotations

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.port import BackendRefusal

HEAD = "head"
"""The role of the head's job: a group of that name would have jobs of the same name."""


def check(spec: MatrixClusterSpec) -> None:
    """Raises BackendRefusal for what Slurm can't do. Sections for other backends (a group's `kubernetes`) don't matter, nor does a
    modelCache that is a volume: there the site's own directory is used."""
    for index, group in enumerate(spec.worker_groups):
        field = f"spec.workerGroups[{index}]"
        if group.name == HEAD:
            message = f"{field}.name {HEAD} is what the head's own job is called; choose another name"
            raise BackendRefusal(ClusterReason.INVALID_SPEC, message)
        if group.autoscale is not None:
            replicas = max(group.autoscale.min, 1)
            raise _unsupported(f"{field}.autoscale works on Kubernetes only; write `replicas: {replicas}` instead")
    if spec.suspend:
        raise _unsupported("spec.suspend does not work on Slurm; delete the cluster and make it anew later")
    if spec.storage is not None and spec.storage.persistent_volume_claim is not None:
        example = "storage: {uri: file:///shared/results}"
        raise _unsupported(f"spec.storage.persistentVolumeClaim is for Kubernetes; name a directory of the site instead: `{example}`")


def _unsupported(message: str) -> BackendRefusal:
    return BackendRefusal(ClusterReason.NOT_SUPPORTED, message)
