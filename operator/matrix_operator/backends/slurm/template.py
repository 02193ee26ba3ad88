"""What the backend takes from a spec. Pure."""

from __future__ import annotations

from matrix_crds.cluster import MatrixClusterSpec, SlurmBackend


def slurm_of(spec: MatrixClusterSpec) -> SlurmBackend:
    """The backend's section. Whoever calls has chosen this backend by it."""
    assert spec.backend is not None and spec.backend.slurm is not None
    return spec.backend.slurm
