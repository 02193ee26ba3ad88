"""Plans of jobs, with what a test does not care for filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.node.plan import NodePlan
from matrix_slurm_bridge.node.record import FILE, HeadRecord
from matrix_slurm_bridge.slurm.names import JobTag

UID = "11111111-2222-3333-4444-555555555555"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def plan(directory: Path, *, attempt: int = 1, serial: int = 1, restart: int = 0, job_id: str = "7", command: str = "head") -> NodePlan:
    return NodePlan(
        command=command,
        directory=ClusterDirectory(directory),
        tag=JobTag(UID, "head" if command == "head" else "gpu", 0, attempt, serial),
        ray_version="2.60.0",
        cpus=2,
        memory=2**31,
        gpus=0,
        accelerator=None,
        resources={},
        ports=range(20_000, 32_000),
        local_directory=None,
        grace=timedelta(minutes=30),
        restart=restart,
        job_id=job_id,
        marker=f"m:{directory}:{attempt}:{serial}:{restart}:{job_id}",
    )


def record(of: NodePlan, host: str = "n1") -> HeadRecord:
    return HeadRecord(
        uid=UID,
        attempt=of.tag.attempt,
        serial=of.tag.serial,
        restart=of.restart,
        job_id=of.job_id,
        host=host,
        address="10.0.0.1",
        started_at=NOW,
    )


def written(directory: Path, value: HeadRecord) -> HeadRecord:
    (directory / FILE).write_text(value.model_dump_json(by_alias=True))
    return value
