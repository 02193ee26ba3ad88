"""What a look at the queue says about the jobs in the journal. Pure.

A job that is not in the queue is not gone at once. A slurmctld that was killed has lost its last seconds, one that was frozen carries out
a submission after its sender has given up: only a job that was not there for a while, in several looks without a failed one between, has
ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from matrix_slurm_bridge.agent.model import Entry
from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase

FORGOTTEN = timedelta(seconds=10)
"""How long a job that Slurm had acknowledged must be absent."""
NEVER_ARRIVED = timedelta(seconds=30)
"""The same for one whose submission got no answer: it may still be on its way in."""
LIVING = frozenset({JobPhase.WAITING, JobPhase.RUNNING, JobPhase.ENDING})


def absorb(entries: Iterable[Entry], jobs: Sequence[Job], now: datetime) -> list[Entry]:
    """The entries after a look that succeeded. A job of ours that the journal does not know (it was lost) becomes an entry."""
    seen = _by_tag(jobs)
    known = {entry.tag: entry for entry in entries}
    for tag, job in seen.items():
        known.setdefault(tag, Entry(tag, job.submitted_at, job.id))
    return [_met(entry, seen[tag], now) if tag in seen else _missed(entry, now) for tag, entry in known.items()]


def unsure(entries: Iterable[Entry]) -> list[Entry]:
    """The entries after a look that failed: absence is counted anew."""
    return [replace(entry, missing_since=None) for entry in entries]


def _by_tag(jobs: Sequence[Job]) -> dict[JobTag, Job]:
    """The one job of each tag that matters: a living one rather than one that has ended."""
    seen: dict[JobTag, Job] = {}
    for job in sorted(jobs, key=lambda job: (job.phase in LIVING, job.submitted_at)):
        seen[job.tag] = job
    return seen


def _met(entry: Entry, job: Job, now: datetime) -> Entry:
    if job.phase in LIVING:
        return replace(entry, job_id=job.id, missing_since=None, ended_at=None, ending="", refused=False)
    if not entry.open:
        return entry
    return replace(entry, job_id=job.id, missing_since=None, ended_at=now, ending=ending_of(job), ran_seconds=_ran(job))


def _missed(entry: Entry, now: datetime) -> Entry:
    if not entry.open:
        return entry
    since = entry.missing_since or now
    if now - since < (FORGOTTEN if entry.job_id else NEVER_ARRIVED):
        return replace(entry, missing_since=since)
    words = "it is not in the queue any more, and Slurm does not remember how it ended" if entry.job_id else "Slurm has not received it"
    ran = (since - entry.intended_at).total_seconds() if entry.job_id else 0.0
    return replace(entry, missing_since=None, ended_at=now, ending=words, ran_seconds=max(0.0, ran))


def ending_of(job: Job) -> str:
    """How a job ended, in Slurm's words."""
    parts = [job.state]
    if job.reason and job.reason != "None":
        parts.append(job.reason)
    if job.exit_code and job.exit_code != "0:0":
        parts.append(f"exit {job.exit_code}")
    return ", ".join(parts)


def _ran(job: Job) -> float:
    if job.started_at is None or job.ended_at is None:
        return 0.0
    return max(0.0, (job.ended_at - job.started_at).total_seconds())
