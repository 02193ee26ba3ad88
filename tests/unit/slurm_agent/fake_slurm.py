"""A Slurm in memory, for the agent's loop. Its jobs do what they are told to, and each fault is one field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase, Partition, SlurmRefused, SlurmUnreachable, Submission


@dataclass
class FakeSlurm:
    queue: list[Job] = field(default_factory=list)
    scripts: list[Submission] = field(default_factory=list)
    away: str = ""
    """No look succeeds."""
    refuses: str = ""
    silent: bool = False
    """Submissions are carried out, and their answers are lost."""
    looks: int = 0
    past: list[Job] = field(default_factory=list)
    """What the accounting knows."""

    async def version(self) -> str:
        return "22.05.8"

    async def partitions(self) -> Sequence[Partition]:
        return ()

    async def jobs(self) -> Sequence[Job]:
        self.looks += 1
        if self.away:
            raise SlurmUnreachable(self.away)
        return tuple(self.queue)

    async def recall(self, job_id: str, tag: JobTag) -> Job | None:
        return next((job for job in self.past if (job.id, job.tag) == (job_id, tag)), None)

    async def controller_started(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def submit(self, submission: Submission) -> str:
        if self.refuses:
            raise SlurmRefused(self.refuses)
        self.scripts.append(submission)
        number = str(100 + len(self.scripts))
        self.queue.append(Job(number, submission.tag, JobPhase.WAITING, "PENDING", "Priority", datetime.now(UTC), partition="gpu"))
        if self.silent:
            raise SlurmUnreachable("Socket timed out")
        return number

    async def cancel(self, job: Job) -> None:
        self.change(job, phase=JobPhase.ENDED, state="CANCELLED", ended_at=datetime.now(UTC))

    def change(self, job: Job, **fields: object) -> None:
        at = next(index for index, one in enumerate(self.queue) if one.id == job.id)
        self.queue[at] = replace(self.queue[at], **fields)  # type: ignore[arg-type]
