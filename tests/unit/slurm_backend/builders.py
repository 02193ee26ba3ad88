"""Clusters on Slurm, with what a test does not care for filled in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from matrix_crds.cluster import Allocation, AllocationKind, MatrixCluster

UID = "11111111-2222-3333-4444-555555555555"
START = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
NAME = "mx-11111111"


def cluster(
    spec: dict[str, Any] | None = None, *, attempt: int | None = 1, site: str = "fair", ray: bool = False, **metadata: Any
) -> MatrixCluster:
    """`attempt`: of its allocation; None for a cluster without one. `ray`: it has been up."""
    base = {"name": "lab", "namespace": "team", "uid": UID, "generation": 3, "creationTimestamp": START.isoformat()}
    status: dict[str, Any] = {"ray": {"version": "2.60.0"}} if ray else {}
    if attempt is not None:
        status["allocation"] = Allocation(kind=AllocationKind.SLURM_JOBS, name=NAME, attempt=attempt, started_at=START).to_wire()
    return MatrixCluster.model_validate(
        {"metadata": base | metadata, "spec": {"backend": {"slurm": {"site": site}}} | (spec or {}), "status": status}
    )
