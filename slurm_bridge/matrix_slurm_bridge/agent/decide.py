"""What to do next about a cluster's jobs. Pure: a look goes in, steps come out; it may be asked again at any time.

One head at a time, one job for each worker. A lost head is replaced while the workers keep their jobs; a worker whose time ends gets a
successor that joins first. A job is cancelled only for what its own tag says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from matrix_crds.cluster import MatrixClusterSpec
from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.agent.ledger import LIVING
from matrix_slurm_bridge.agent.model import Cluster, Entry, Phase
from matrix_slurm_bridge.slurm.names import HEAD, JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase

QUICK_SECONDS = 60.0
"""A job that ends within this time of its start is not healthy: the next one waits longer each time."""
LONGEST_WAIT_SECONDS = 60.0
LEAD = timedelta(minutes=10)
"""How long before the end of its time a worker's successor is submitted; at most LEAD_PART of that time."""
LEAD_PART = 0.25

ENDING_FOR_LONG = timedelta(seconds=90)
"""A job whose machine does not answer is COMPLETING until Slurm gives that up; the fence keeps a head of it away. It is replaced."""

Slot = tuple[str, int]
"""Role and index."""


@dataclass(frozen=True)
class Submit:
    tag: JobTag
    why: str


@dataclass(frozen=True)
class Cancel:
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


Step = Submit | Cancel | Remove | Hold


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
    template, spec = (MatrixClusterSpec.model_validate_json(text) for text in (cluster.template, cluster.spec))
    replicas = {group.name: 1 if group.replicas is None else group.replicas for group in spec.worker_groups}
    return [(HEAD, 0), *((group.name, index) for group in template.worker_groups for index in range(replicas.get(group.name, 0)))]


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


def expires_soon(job: Job, now: datetime) -> bool:
    """Whether its time limit is so near that a successor is due."""
    if job.phase is not JobPhase.RUNNING or job.ends_at is None or job.started_at is None:
        return False
    return job.ends_at - now < min(LEAD, (job.ends_at - job.started_at) * LEAD_PART)


def _removal(view: View) -> list[Step]:
    living = [job for job in view.jobs or () if job.phase in LIVING]
    if living or any(entry.open for entry in view.entries):
        return list(_cancels(living, "the cluster is deleted"))
    return [Remove()]


def _head(view: View) -> Iterator[Step]:
    living = view.living(HEAD, 0)
    if not living:
        yield from _submit(view, HEAD, 0, "there is no head")
        return
    # Of two that run, the fence of the later one ends the other; one that still waits is one too many.
    keep = max(living, key=lambda job: (job.phase is JobPhase.RUNNING, job.tag.serial))
    yield from _cancels([job for job in living if job is not keep], "another head is there")


def _workers(view: View) -> Iterator[Step]:
    wanted = [slot for slot in wanted_slots(view.cluster) if slot[0] != HEAD]
    present = {(job.tag.role, job.tag.index) for job in view.jobs or () if job.tag.role != HEAD and job.tag.attempt == view.cluster.attempt}
    for role, index in sorted(present - set(wanted), key=lambda slot: (slot[0], -slot[1])):
        yield from _cancels(view.living(role, index), "so many workers are not wanted")
    for role, index in wanted:
        living = view.living(role, index)
        if living:
            yield from _cancels(_surplus(view, living), "another job does its work")
        else:
            yield from _submit(view, role, index, "there is no such worker")
    yield from _successor(view, wanted)


def _surplus(view: View, living: Sequence[Job]) -> list[Job]:
    """Jobs of one worker that are too many: at most the one that works, and one that is to succeed it, stay."""
    running = [job for job in living if job.phase is JobPhase.RUNNING]
    joined = [job for job in running if job.tag in view.joined]
    keep = (joined or running or [job for job in living if job.phase is JobPhase.WAITING] or list(living))[-1]
    later = [job for job in living if job.tag.serial > keep.tag.serial] if expires_soon(keep, view.now) else []
    return [job for job in living if job is not keep and job not in later[:1]]


def _successor(view: View, wanted: Sequence[Slot]) -> Iterator[Step]:
    """One at a time: never twice the machines of the cluster."""
    pairs = [(slot, view.living(*slot)) for slot in wanted]
    if any(len(living) > 1 for _, living in pairs) or not view.living(HEAD, 0):
        return
    for (role, index), living in pairs:
        if living and expires_soon(living[0], view.now):
            steps = list(_submit(view, role, index, "its predecessor's time ends"))
            if steps:
                yield from steps
                return


def _submit(view: View, role: str, index: int, why: str) -> Iterator[Step]:
    """Unless one that may live is still looked for, or it is too soon after the last ones that ended."""
    history = view.history(role, index)
    seen = {job.tag for job in view.jobs or ()}
    if any(entry.open and entry.tag not in seen for entry in history):
        return
    due = due_at([entry for entry in history if not entry.open])
    if due is not None and view.now < due:
        return
    serials = [entry.tag.serial for entry in history] + [view.record_serial if role == HEAD else 0]
    yield Submit(JobTag(view.cluster.uid, role, index, view.cluster.attempt, max(serials) + 1), why)


def _within_limits(view: View, steps: list[Step]) -> list[Step]:
    submissions = [step for step in steps if isinstance(step, Submit)]
    over = submissions[max(0, view.room) :]
    if not over:
        return steps
    message = f"{len(over)} more jobs are needed; {view.limit}"
    return [*(step for step in steps if step not in over), Hold(ClusterReason.INSUFFICIENT_RESOURCES, message)]


def _cancels(jobs: Sequence[Job], why: str) -> Iterator[Cancel]:
    """Of a job that is ending already nothing more can be asked."""
    return (Cancel(job, why) for job in jobs if job.phase is not JobPhase.ENDING)
