"""What a job waits for, in words for a person."""

from __future__ import annotations

from datetime import datetime

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.slurm.port import Job
from matrix_slurm_bridge.slurm.states import why_waiting


def waiting(job: Job, now: datetime) -> tuple[ClusterReason | None, str]:
    """Such as "job 17 waits in partition gpu: it is next, and waits for free nodes (Slurm: Resources), none before it, expected 14:20
    UTC"; with a reason where it does not go on by itself."""
    verdict = why_waiting(job.reason)
    parts = [f"job {job.id} waits in partition {job.partition or '(default)'}: {verdict.message}"]
    if job.queue_position is not None:
        parts.append(f"{job.queue_position - 1} before it" if job.queue_position > 1 else "none before it")
    if job.expected_start is not None and job.expected_start > now:
        today = job.expected_start.date() == now.date()
        parts.append(f"expected {job.expected_start:%H:%M} UTC" if today else f"expected {job.expected_start:%Y-%m-%d %H:%M} UTC")
    return (verdict.reason if verdict.theirs else None), ", ".join(parts)
