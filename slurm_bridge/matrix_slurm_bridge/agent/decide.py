"""What to do next about a cluster's jobs. Pure: a look goes in, steps come out; it may be asked again at any time.

One head at a time, one job for each worker. A lost head is replaced while the workers keep their jobs. A worker whose time ends gets a
successor that joins first; a head whose time ends gets one that stands by, and takes its place after the workers. A worker that is not
wanted any more is asked to drain, and cancelled when it has had its time. A job is cancelled only for what its own tag says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.agent.ledger import LIVING
from matrix_slurm_bridge.agent.model import Cluster, Entry, Phase, numbers
from matrix_slurm_bridge.slurm.names import HEAD, JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase

QUICK_SECONDS = 60.0
"""A job that ends within this time of its start is not healthy: the next one waits longer each time."""
LONGEST_WAIT_SECONDS = 60.0
LEAD = timedelta(minutes=10)
"""How long before the end of its time a job's successor is submitted; at most LEAD_PART of that time. Workers succeed one by one, the head
last: each has so long for all that come after it."""
LEAD_PART = 1 / 3
LAST_PART = 0.25
"""Of the head's lead: with less than that left it hands over, however it stands with the workers."""
DRAIN_SECONDS = 180.0
"""A worker that was asked to drain is cancelled after that: longer than it takes by itself (node.worker.DRAIN_SECONDS) and than a shared
file system may hide the asking."""

ENDING_FOR_LONG = timedelta(seconds=90)
"""A job whose machine does not answer is COMPLETING until Slurm gives that up; the fence keeps a head of it away. It is replaced."""

Slot = tuple[str, int]
"""Role and index."""


@dataclass(frozen=True)
class Submit:
    tag: JobTag
    why: str
    stands_by: bool = False
    """A head that begins when it is told to, or when the former one has ended."""

    @property
    def vital(self) -> bool:
        """Without it there is no head."""
        return self.tag.role == HEAD and not self.stands_by


@dataclass(frozen=True)
class Cancel:
    job: Job
    why: str


@dataclass(frozen=True)
class Drain:
    """A worker moves its work elsewhere, then ends by itself."""

    job: Job
    why: str


@dataclass(frozen=True)
class TakeOver:
    """A head that stands by begins: the former one sees that, and ends itself."""

    job: Job
    why: str


@dataclass(frozen=True)
class Remove:
    """No job is left: the cluster's directory goes."""


@dataclass(frozen=True)
class Hold:
    """What is missing is not submitted until somebody changes something."""

    reason: ClusterReason
    message: str
    vital: bool = True
    """Without that there is no cluster. Otherwise it goes on with what it has."""


Step = Submit | Cancel | Drain | TakeOver | Remove | Hold


@dataclass(frozen=True)
class View:
    """One look at one cluster."""

    cluster: Cluster
    jobs: tuple[Job, ...] | None
    """Of this cluster, of all attempts; None: the look failed."""
    entries: tuple[Entry, ...]
    """After this look (ledger.py)."""
    now: datetime
    joined: frozenset[JobTag] = field(default_factory=frozenset)
    """Workers that are in the Ray cluster of the head that runs, by their own word."""
    standing_by: frozenset[JobTag] = field(default_factory=frozenset)
    """Heads that were told to wait, and have not been told to begin."""
    prepared: frozenset[JobTag] = field(default_factory=frozenset)
    """Those of them that could begin at once, by their own word."""
    draining: Mapping[JobTag, datetime] = field(default_factory=dict)
    """Workers that were asked to drain, and when."""
    record_serial: int = 0
    """Of head.json, if that is of this attempt."""
    room: int = 1_000_000
    """How many jobs more the site's file allows."""
    limit: str = ""
    """Which limit that is, in words."""

    def living(self, role: str, index: int) -> list[Job]:
        """The jobs of a slot of this attempt that do its work, or may, the first submitted first."""
        ours = (job for job in self.jobs or () if (job.tag.role, job.tag.index) == (role, index) and not self._over(job))
        return sorted((job for job in ours if job.tag.attempt == self.cluster.attempt), key=lambda job: job.tag.serial)

    def _over(self, job: Job) -> bool:
        if job.phase is JobPhase.ENDING:
            return job.ended_at is not None and self.now - job.ended_at > ENDING_FOR_LONG
        return job.phase not in LIVING

    def history(self, role: str, index: int) -> list[Entry]:
        """The entries of a slot of this attempt, the first submitted first."""
        attempt = self.cluster.attempt
        found = (entry for entry in self.entries if entry.tag.attempt == attempt and (entry.tag.role, entry.tag.index) == (role, index))
        return sorted(found, key=lambda entry: entry.tag.serial)


def wanted_slots(cluster: Cluster) -> list[Slot]:
    """The head first. Numbers of workers are from the newest spec, groups from the one that the jobs are made from."""
    wanted = numbers(cluster.template, cluster.spec)
    return [(HEAD, 0), *((name, index) for name, number in wanted.items() for index in range(number))]


def decide(view: View) -> list[Step]:
    """The steps of this look; [] waits, as after each failed one."""
    if view.jobs is None:
        return []
    if view.cluster.phase is Phase.DELETE:
        return _removal(view)
    foreign = [job for job in view.jobs if job.tag.attempt > view.cluster.attempt and job.phase in LIVING]
    if foreign:
        attempt = max(job.tag.attempt for job in foreign)
        told = f"jobs of its attempt {attempt} are in the queue, but {view.cluster.attempt} is asked for; cancel them by hand"
        return [Hold(ClusterReason.NAME_TAKEN, told)]
    former = [job for job in view.jobs if job.tag.attempt < view.cluster.attempt and job.phase in LIVING]
    if former or any(entry.open and entry.tag.attempt < view.cluster.attempt for entry in view.entries):
        return list(_cancels(former, "it is made anew"))
    return _within_limits(view, [*_head(view), *_workers(view)])


def due_at(history: Sequence[Entry]) -> datetime | None:
    """When the next job of a slot may be submitted; None: at once. The wait grows with each job in a row that ended soon."""
    quick = quick_ends(history)
    if not quick:
        return None
    ended_at = history[-1].ended_at
    return None if ended_at is None else ended_at + timedelta(seconds=min(2.0**quick, LONGEST_WAIT_SECONDS))


def quick_ends(history: Sequence[Entry]) -> int:
    """How many of the last jobs of a slot ended soon, one after the other, by themselves."""
    count = 0
    for entry in reversed(history):
        if entry.open or entry.cancelled or entry.ran_seconds >= QUICK_SECONDS:
            break
        count += 1
    return count


def expires_soon(job: Job, now: datetime, jobs: int = 1) -> bool:
    """Whether its time limit is so near that a successor is due, of which so many come one after the other."""
    lead = _lead(job, jobs)
    return job.ends_at is not None and job.ends_at - now < lead


def _lead(job: Job, jobs: int) -> timedelta:
    if job.phase is not JobPhase.RUNNING or job.ends_at is None or job.started_at is None:
        return timedelta(0)
    return min(LEAD * jobs, (job.ends_at - job.started_at) * LEAD_PART)


def _removal(view: View) -> list[Step]:
    living = [job for job in view.jobs or () if job.phase in LIVING]
    if living or any(entry.open for entry in view.entries):
        return list(_cancels(living, "the cluster is deleted"))
    return [Remove()]


def _head(view: View) -> Iterator[Step]:
    living = view.living(HEAD, 0)
    heirs = [job for job in living if job.tag in view.standing_by]
    acting = [job for job in living if job not in heirs]
    if not living:
        yield from _submit(view, HEAD, 0, "there is no head")
    elif heirs and all(job.phase is JobPhase.ENDING for job in acting):
        heir = _foremost(heirs)
        yield TakeOver(heir, "the former head has ended")
        yield from _cancels([job for job in heirs if job is not heir], "another head is there")
    else:
        keep = _foremost(acting)
        # Of two that run, the fence of the later one ends the other as soon as that begins; one that still waits is one too many.
        seated = keep.phase is not JobPhase.RUNNING or view.record_serial >= keep.tag.serial
        former = [job for job in acting if job is not keep and (seated or job.phase is JobPhase.WAITING)]
        yield from _cancels(former, "another head is there")
        yield from _head_successor(view, keep, heirs)


def _foremost(heads: Sequence[Job]) -> Job:
    return max(heads, key=lambda job: (job.phase is JobPhase.RUNNING, job.tag.serial))


def _head_successor(view: View, head: Job, heirs: Sequence[Job]) -> Iterator[Step]:
    """One stands by; it begins when no worker is on the move, or when time is short."""
    if not expires_soon(head, view.now):
        yield from _cancels(heirs, "the head has time left")
    elif not heirs:
        yield from _submit(view, HEAD, 0, "its predecessor's time ends", stands_by=True)
    else:
        heir = _foremost(heirs)
        yield from _cancels([job for job in heirs if job is not heir], "another head stands by")
        if heir.tag in view.prepared and (_settled(view) or _short(head, view.now)):
            yield TakeOver(heir, "its predecessor's time ends")


def _short(head: Job, now: datetime) -> bool:
    return head.ends_at is not None and head.ends_at - now < _lead(head, 1) * LAST_PART


def _settled(view: View) -> bool:
    """Every worker is in the Ray, with time left, and none is leaving."""
    wanted = [slot for slot in wanted_slots(view.cluster) if slot[0] != HEAD]
    jobs = [view.living(*slot) for slot in wanted]
    if any(job.tag in view.draining for job in view.jobs or () if job.phase in LIVING):
        return False
    return all(len(living) == 1 and living[0].tag in view.joined and not _due(view, living[0], wanted) for living in jobs)


def _due(view: View, worker: Job, wanted: Sequence[Slot]) -> bool:
    return expires_soon(worker, view.now, len(wanted) + 1)


def _workers(view: View) -> Iterator[Step]:
    wanted = [slot for slot in wanted_slots(view.cluster) if slot[0] != HEAD]
    present = {(job.tag.role, job.tag.index) for job in view.jobs or () if job.tag.role != HEAD and job.tag.attempt == view.cluster.attempt}
    for role, index in sorted(present - set(wanted), key=lambda slot: (slot[0], -slot[1])):
        yield from _leave(view, view.living(role, index), "so many workers are not wanted")
    for role, index in wanted:
        living = view.living(role, index)
        if living:
            yield from _leave(view, _surplus(view, living, wanted), "another job does its work")
        else:
            yield from _submit(view, role, index, "there is no such worker")
    yield from _successor(view, wanted)


def _leave(view: View, jobs: Sequence[Job], why: str) -> Iterator[Step]:
    """Whoever runs is asked to drain first; who does not end by itself in time is cancelled."""
    for job in jobs:
        asked = view.draining.get(job.tag)
        if job.phase is not JobPhase.RUNNING:
            yield from _cancels([job], why)
        elif asked is None:
            yield Drain(job, why)
        elif view.now - asked >= timedelta(seconds=DRAIN_SECONDS):
            yield Cancel(job, f"{why}, and it has not drained in {DRAIN_SECONDS:.0f} s")


def _surplus(view: View, living: Sequence[Job], wanted: Sequence[Slot]) -> list[Job]:
    """Jobs of one worker that are too many: at most the one that works, and one that is to succeed it, stay."""
    running = [job for job in living if job.phase is JobPhase.RUNNING]
    joined = [job for job in running if job.tag in view.joined]
    waiting = [job for job in living if job.phase is JobPhase.WAITING]
    keep = (joined[-1:] or running[:1] or waiting[-1:] or living[-1:])[0]
    later = [job for job in living if job.tag.serial > keep.tag.serial] if _due(view, keep, wanted) else []
    return [job for job in living if job is not keep and job not in later[:1]]


def _successor(view: View, wanted: Sequence[Slot]) -> Iterator[Step]:
    """One at a time: never twice the machines of the cluster."""
    pairs = [(slot, view.living(*slot)) for slot in wanted]
    if any(len(living) > 1 for _, living in pairs) or not view.living(HEAD, 0):
        return
    due = [(slot, living[0]) for slot, living in pairs if living and _due(view, living[0], wanted)]
    for (role, index), _ in sorted(due, key=lambda pair: pair[1].ends_at or view.now):
        steps = list(_submit(view, role, index, "its predecessor's time ends"))
        if steps:
            yield from steps
            return


def _submit(view: View, role: str, index: int, why: str, *, stands_by: bool = False) -> Iterator[Step]:
    """Unless one that may live is still looked for, or it is too soon after the last ones that ended."""
    history = view.history(role, index)
    seen = {job.tag for job in view.jobs or ()}
    if any(entry.open and entry.tag not in seen for entry in history):
        return
    due = due_at([entry for entry in history if not entry.open])
    if due is not None and view.now < due:
        return
    serials = [entry.tag.serial for entry in history] + [view.record_serial if role == HEAD else 0]
    yield Submit(JobTag(view.cluster.uid, role, index, view.cluster.attempt, max(serials) + 1), why, stands_by)


def _within_limits(view: View, steps: list[Step]) -> list[Step]:
    submissions = [step for step in steps if isinstance(step, Submit)]
    over = submissions[max(0, view.room) :]
    if not over:
        return steps
    message = f"{len(over)} more jobs are needed; {view.limit}"
    hold = Hold(ClusterReason.INSUFFICIENT_RESOURCES, message, vital=any(step.vital for step in over))
    return [*(step for step in steps if step not in over), hold]


def _cancels(jobs: Sequence[Job], why: str) -> Iterator[Cancel]:
    """Of a job that is ending already nothing more can be asked."""
    return (Cancel(job, why) for job in jobs if job.phase is not JobPhase.ENDING)
