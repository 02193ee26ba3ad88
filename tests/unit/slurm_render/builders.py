"""Specs, profiles and tags, with what a test does not care for filled in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from matrix_crds.cluster import MatrixClusterSpec
from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.render.profile import GpuDirective, ManifestDirective, ProfileDirectives
from matrix_slurm_bridge.slurm.names import JobTag

UID = "11111111-2222-3333-4444-555555555555"
DIRECTORY = ClusterDirectory(Path("/shared/team/matrix/clusters") / UID)
PLAIN = ProfileDirectives("default", "/shared/team/matrix/env/bin/python")
FULL = ProfileDirectives(
    name="gpu",
    python="/shared/team/matrix/env/bin/python",
    partition="gpu",
    head_partition="services",
    account="team-a",
    qos="normal",
    setup=("source /etc/profile.d/modules.sh", "module load cuda/12.8"),
    local_directory="/scratch/local",
    gpu_directive=GpuDirective.GRES,
    gpu_types={"H100": "h100"},
    allowed=frozenset(ManifestDirective),
    extra=("--exclude=broken[1-3]",),
    time_limit=timedelta(hours=8),
    head_time_limit=timedelta(days=7),
    maximum_cpus=64,
    maximum_memory=512 * 2**30,
    ports=range(25_000, 26_000),
    head_loss_grace=timedelta(minutes=10),
)
GPU_GROUP: dict[str, Any] = {
    "name": "gpu",
    "resources": {"cpu": "15500m", "memory": "120Gi", "gpu": 2},
    "accelerator": "H100",
    "rayResources": {"sandbox-slots": 8, "fast.disk": 0.5},
    "slurm": {"partition": "gpu-long", "qos": "high", "constraint": "[rack1|rack2]&nvme", "timeLimitSeconds": 86_430},
}


def spec(**fields: Any) -> MatrixClusterSpec:
    return MatrixClusterSpec.model_validate({"backend": {"slurm": {"site": "fair"}}} | fields)


def tag(role: str = "head", index: int = 0, attempt: int = 1, serial: int = 1) -> JobTag:
    return JobTag(UID, role, index, attempt, serial)
