"""The agent's pure core against a Slurm that loses answers, forgets, refuses to be looked at and ends jobs, in any interleaving."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_slurm_bridge.agent.decide import Cancel, Drain, Hold, Remove, Step, Submit, TakeOver, View, decide, wanted_slots
from matrix_slurm_bridge.agent.ledger import LIVING, absorb, unsure
from matrix_slurm_bridge.agent.model import Cluster, Entry, Phase
from matrix_slurm_bridge.slurm.names import HEAD, JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase
from tests.unit.slurm_agent.samples import NOW, cluster

ANSWERS = ("acknowledged", "lost answer", "late", "never arrives")
EVENTS = ("start", "end", "lose a node", "requeue", "scale", "restart the agent", "pause")


@dataclass
class World:
    """A Slurm, and an agent with its journal."""

    wanted: Cluster
    now: datetime = NOW
    jobs: list[Job] = field(default_factory=list)
    arriving: list[tuple[datetime, Job]] = field(default_factory=list)
    journal: list[Entry] = field(default_factory=list)
    removed: bool = False
    draining: dict[JobTag, datetime] = field(default_factory=dict)
    waits: set[JobTag] = field(default_factory=set)
    limit: timedelta | None = None
    """Of each job's time."""
    number: int = 100

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.jobs += [job for due, job in self.arriving if due <= self.now]
        self.arriving = [(due, job) for due, job in self.arriving if due > self.now]
        for job in [job for job in self.jobs if job.phase is JobPhase.RUNNING]:
            if job.tag in self.draining or self._superseded(job) or (job.ends_at and job.ends_at <= self.now):
                self.change(job, JobPhase.ENDED)

    def _superseded(self, job: Job) -> bool:
        """By the fence: a later head has begun."""
        return job.tag.role == HEAD and job.tag not in self.waits and job.tag.serial < self.seat()

    def look(self) -> list[Step]:
        self.journal = absorb(self.journal, self.jobs, self.now)
        found = (self.wanted, tuple(self.jobs), tuple(self.journal), self.now)
        running = {job.tag for job in self.jobs if job.phase is JobPhase.RUNNING}
        return decide(
            View(
                *found,
                joined=frozenset(tag for tag in running if tag.role != HEAD and tag not in self.draining),
                standing_by=frozenset(self.waits),
                prepared=frozenset(running & self.waits),
                draining=self.draining,
                record_serial=self.seat(),
            )
        )

    def seat(self) -> int:
        """Of the head that began last."""
        begun = [job.tag.serial for job in self.jobs if job.tag.role == HEAD and job.started_at and job.tag not in self.waits]
        return max(begun, default=0)

    def carry_out(self, steps: list[Step], answer: str) -> None:
        for step in steps:
            match step:
                case Submit(tag=tag):
                    if step.stands_by:
                        self.waits.add(tag)
                    self._submit(step, answer)
                case Drain(job=job):
                    assert job in self.jobs and job.tag.role != HEAD
                    self.draining[job.tag] = self.now
                case TakeOver(job=job):
                    self.waits.remove(job.tag)
                case Cancel(job=job):
                    assert job in self.jobs and job.tag.uid == self.wanted.uid
                    self.change(job, JobPhase.ENDED)
                case Remove():
                    assert not [job for job in self.jobs if job.phase in LIVING] and not self.arriving
                    self.removed = True
                case Hold():
                    raise AssertionError(step)

    def change(self, job: Job, phase: JobPhase) -> None:
        end = self.now + self.limit if self.limit else None
        moment = {"started_at": self.now, "ends_at": end} if phase is JobPhase.RUNNING else {"ended_at": self.now}
        self.jobs[self.jobs.index(job)] = replace(job, phase=phase, **moment)

    def _submit(self, step: Submit, answer: str) -> None:
        tag = step.tag
        assert not [job for job in self.jobs if job.tag == tag], "the same tag twice"
        if step.vital:
            assert not [job for job in self.heads() if job.phase in LIVING], "a second head while the first may live"
        elif tag.role == HEAD:
            waiting = [job for job in self.heads() if job.phase in LIVING and job.tag in self.waits]
            assert not waiting, "a second head that stands by"
        self.number += 1
        job = Job(str(self.number), tag, JobPhase.WAITING, "PENDING", "", self.now)
        self.journal.append(Entry(tag, self.now, job.id if answer == "acknowledged" else ""))
        if answer == "late":
            self.arriving.append((self.now + timedelta(seconds=8), job))
        elif answer != "never arrives":
            self.jobs.append(job)

    def heads(self) -> list[Job]:
        return [job for job in self.jobs + [job for _, job in self.arriving] if job.tag.role == HEAD]


def happen(world: World, event: str, which: int) -> None:
    living = [job for job in world.jobs if job.phase in LIVING]
    if event == "scale":
        world.wanted = replace(world.wanted, spec=cluster(gpu=which % 4).spec)
    elif event == "restart the agent":
        world.journal = unsure(world.journal)
    elif living and event != "pause":
        phases = {"start": JobPhase.RUNNING, "end": JobPhase.ENDED, "lose a node": JobPhase.LOST, "requeue": JobPhase.WAITING}
        world.change(living[which % len(living)], phases[event])


def settle(world: World, looks: int = 60) -> None:
    """Everything goes well from here on, and jobs start as they are submitted."""
    for _ in range(looks):
        world.pass_time(5)
        world.carry_out(world.look(), "acknowledged")
        for job in list(world.jobs):
            if job.phase is JobPhase.WAITING:
                world.change(job, JobPhase.RUNNING)


STEPS = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, 7), st.sampled_from(ANSWERS), st.booleans(), st.floats(0.5, 20)), max_size=25
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, workers=st.integers(0, 3), delete=st.booleans())
def test_it_converges_from_any_interleaving_and_never_has_two_heads(
    steps: list[tuple[str, int, str, bool, float]], workers: int, delete: bool
) -> None:
    world = World(cluster(gpu=workers))
    for event, which, answer, sees, seconds in steps:
        world.pass_time(seconds)
        if sees:
            world.carry_out(world.look(), answer)
        else:
            world.journal = unsure(world.journal)
        happen(world, event, which)
    if delete:
        world.wanted = replace(world.wanted, phase=Phase.DELETE)
    settle(world)
    living = sorted((job.tag.role, job.tag.index) for job in world.jobs if job.phase in LIVING)
    assert living == ([] if delete else sorted(wanted_slots(world.wanted)))
    assert world.removed == delete
    assert delete or world.look() == []


@settings(max_examples=15, deadline=None)
@given(workers=st.integers(0, 4), minutes=st.integers(5, 60), seconds=st.integers(0, 3000))
def test_with_time_limits_there_is_always_a_head_and_never_twice_the_workers(workers: int, minutes: int, seconds: int) -> None:
    world = World(cluster(gpu=workers), limit=timedelta(minutes=minutes))
    settle(world)
    for _ in range(100 + seconds // 5):
        settle(world, 1)
        living = [job for job in world.jobs if job.phase in LIVING]
        acting = [job for job in living if job.tag.role == HEAD and job.tag not in world.waits]
        slots = {(job.tag.role, job.tag.index) for job in living}
        assert len([job for job in acting if not world._superseded(job)]) == 1
        assert slots == set(wanted_slots(world.wanted)), "each has a job at any time"
        assert len([job for job in living if job.tag.role != HEAD and job.tag not in world.draining]) <= workers + 1


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_asking_twice_brings_the_same_steps(steps: list[tuple[str, int, str, bool, float]]) -> None:
    world = World(cluster(gpu=2))
    for event, which, answer, _, seconds in steps:
        world.pass_time(seconds)
        first = world.look()
        assert world.look() == first
        world.carry_out(first, answer)
        happen(world, event, which)
