"""Jobs, entries and clusters for the agent's tables."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from matrix_slurm_bridge.agent.decide import View
from matrix_slurm_bridge.agent.model import Cluster, Entry, Phase
from matrix_slurm_bridge.slurm.names import HEAD, JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
UID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


def spec(**groups: int) -> str:
    """With so many workers in each group."""
    return json.dumps({"workerGroups": [{"name": name, "replicas": replicas} for name, replicas in groups.items()]})


def cluster(phase: Phase = Phase.PRESENT, attempt: int = 1, **groups: int) -> Cluster:
    text = spec(**groups)
    return Cluster(UID, "default", "lab", 1, phase, attempt, text, text)


def tag(role: str = HEAD, index: int = 0, attempt: int = 1, serial: int = 1) -> JobTag:
    return JobTag(UID, role, index, attempt, serial)


def job(of: JobTag, phase: JobPhase = JobPhase.RUNNING, **fields: Any) -> Job:
    states = {JobPhase.WAITING: "PENDING", JobPhase.RUNNING: "RUNNING", JobPhase.ENDING: "COMPLETING", JobPhase.LOST: "NODE_FAIL"}
    base = Job(id=str(100 + of.serial), tag=of, phase=phase, state=states.get(phase, "FAILED"), reason="", submitted_at=EARLIER, host="n1")
    started = {"started_at": EARLIER} if phase is not JobPhase.WAITING else {}
    ended = {"ended_at": NOW} if phase in (JobPhase.ENDED, JobPhase.LOST) else {}
    return replace(base, **{**started, **ended, **fields})


def entry(of: JobTag, **fields: Any) -> Entry:
    return Entry(**{"tag": of, "intended_at": EARLIER, "job_id": str(100 + of.serial), **fields})


def view(*jobs: Job, wanted: Cluster | None = None, **fields: Any) -> View:
    """A look at those jobs, each with its entry."""
    entries = tuple(
        entry(found.tag) if found.phase not in (JobPhase.ENDED, JobPhase.LOST) else entry(found.tag, ended_at=NOW, ran_seconds=3600.0)
        for found in jobs
    )
    return View(**{"cluster": wanted or cluster(), "jobs": jobs, "entries": entries, "now": NOW, **fields})
