"""What Slurm can't do, said before anything is submitted."""

from __future__ import annotations

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.render.errors import RenderRefusal
from matrix_slurm_bridge.slurm.names import HEAD


def check_supported(spec: MatrixClusterSpec) -> None:
    """Raises RenderRefusal. Sections for other backends (a group's `kubernetes`) don't matter, nor does a modelCache that
    is a volume: there the site's own directory is used."""
    for group in spec.worker_groups:
        if group.name == HEAD:
            raise _invalid(f"no worker group may be called `{HEAD}`: the head's job has that name", "rename it")
        if group.autoscale is not None:
            raise _not_supported(
                f"workerGroups[{group.name}].autoscale works on Kubernetes only", f"write `replicas: {max(group.autoscale.min, 1)}` instead"
            )
    if spec.suspend:
        raise _not_supported("a cluster on Slurm can't be suspended", "delete it and make it anew later")
    if spec.storage and spec.storage.persistent_volume_claim:
        raise _not_supported("storage.persistentVolumeClaim works on Kubernetes only", 'write `uri: "file:///directory"` instead')


def _invalid(fact: str, advice: str) -> RenderRefusal:
    return RenderRefusal(ClusterReason.INVALID_SPEC, f"{fact}; {advice}")


def _not_supported(fact: str, advice: str) -> RenderRefusal:
    return RenderRefusal(ClusterReason.NOT_SUPPORTED, f"{fact}; {advice}")
