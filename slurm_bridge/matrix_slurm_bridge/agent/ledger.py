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
from matrix_slurm_bridge.slurm.states import how_ended

FORGOTTEN = timedelta(seconds=10)
"""How long a job that Slurm had acknowledged must be absent."""
NEVER_ARRIVED = timedelta(seconds=30)
"""The same for one whose submission got no answer: it may still be on its way in."""
KEPT = 12
"""More quick ends than these make no wait longer."""
_NOT_REMEMBERED = "it is not in the queue any more, and Slurm does not remember how it ended"
LIVING = frozenset({JobPhase.WAITING, JobPhase.RUNNING, JobPhase.ENDING})


def absorb(entries: Iterable[Entry], jobs: Sequence[Job], now: datetime) -> list[Entry]:
    """The entries after a look that succeeded. A job of ours that the journal does not know becomes an entry."""
    seen = _by_tag(jobs)
    known = {entry.tag: entry for entry in entries}
    for tag, job in seen.items():
        known.setdefault(tag, Entry(tag, job.submitted_at, job.id))
    return [_met(entry, seen[tag], now) if tag in seen else _missed(entry, now) for tag, entry in known.items()]


def vanished(entry: Entry) -> bool:
    """It has ended, and the queue did not say how."""
    return not entry.open and entry.ending == _NOT_REMEMBERED


def recalled(entry: Entry, job: Job) -> Entry:
    """With its end as the site's accounting has it; unchanged where that has not heard of the end."""
    return entry if job.phase in LIVING else replace(entry, ending=how_ended(job).message, ran_seconds=_ran(job))


def unsure(entries: Iterable[Entry]) -> list[Entry]:
    """The entries after a look that failed: absence is counted anew."""
    return [replace(entry, missing_since=None) for entry in entries]


def superfluous(entries: Iterable[Entry], attempt: int) -> list[Entry]:
    """Those that no decision needs any more: ended ones of former attempts, and all but the last KEPT of a node."""
    nodes: dict[tuple[str, int], list[Entry]] = {}
    old = []
    for entry in sorted(entries, key=lambda entry: entry.tag.serial):
        if entry.tag.attempt == attempt:
            nodes.setdefault((entry.tag.role, entry.tag.index), []).append(entry)
        elif entry.tag.attempt < attempt:
            old.append(entry)
    return [entry for entry in [*old, *(entry for history in nodes.values() for entry in history[:-KEPT])] if not entry.open]


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
    return replace(entry, job_id=job.id, missing_since=None, ended_at=now, ending=how_ended(job).message, ran_seconds=_ran(job))


def _missed(entry: Entry, now: datetime) -> Entry:
    if not entry.open:
        return entry
    since = entry.missing_since or now
    if now - since < (FORGOTTEN if entry.job_id else NEVER_ARRIVED):
        return replace(entry, missing_since=since)
    words = _NOT_REMEMBERED if entry.job_id else "Slurm has not received it"
    ran = (since - entry.intended_at).total_seconds() if entry.job_id else 0.0
    return replace(entry, missing_since=None, ended_at=now, ending=words, ran_seconds=max(0.0, ran))


def _ran(job: Job) -> float:
    if job.started_at is None or job.ended_at is None:
        return 0.0
    return max(0.0, (job.ended_at - job.started_at).total_seconds())
