"""The port of Slurm: what the bridge asks of it. Every call has a deadline of its own and ends in an answer or a SlurmError."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from matrix_slurm_bridge.slurm.names import JobTag


class JobPhase(StrEnum):
    """What a job's state means for us; states.py maps Slurm's own states by a literal table."""

    WAITING = "Waiting"  # in the queue: `reason` says for what
    RUNNING = "Running"
    ENDING = "Ending"  # COMPLETING: processes of it may still run
    ENDED = "Ended"  # by itself, by a time limit, by somebody: `state` says how
    LOST = "Lost"  # its node failed, or it was preempted, and it does not come back by itself


@dataclass(frozen=True)
class Job:
    """One job, at the time of one look."""

    id: str
    """Slurm's number. Only together with `submitted_at` and `tag` does it name a job."""
    tag: JobTag
    phase: JobPhase
    state: str
    """Slurm's own: PENDING, RUNNING, TIMEOUT ..."""
    reason: str
    """Slurm's own: Priority, Resources, JobHeldUser, NodeDown ...; empty for none."""
    submitted_at: datetime
    started_at: datetime | None = None
    expected_start: datetime | None = None
    """Of a waiting job, where Slurm says it."""
    ends_at: datetime | None = None
    """Of a running one: when its time limit ends it; None if it has none."""
    ended_at: datetime | None = None
    host: str = ""
    partition: str = ""
    restarts: int = 0
    """How often Slurm has requeued it."""
    exit_code: str = ""
    """status:signal, of an ended one."""
    queue_position: int | None = None
    """Of a waiting one: its place in its partition, from 1, as it was a minute ago at most; None where the site does not show it, or where
    it does not wait for its turn (states.why_waiting)."""


@dataclass(frozen=True)
class Submission:
    """What sbatch is given: a script on its standard input, in which all directives are."""

    tag: JobTag
    script: str


@dataclass(frozen=True)
class Partition:
    """What the site has, for `matrix bridge init`."""

    name: str
    default: bool
    up: bool
    nodes: int
    cpus: int
    """Of one node: the fewest."""
    memory_mb: int
    """Of one node: the least."""
    gres: tuple[str, ...]
    time_limit: timedelta | None
    """None: unlimited."""


class SlurmError(Exception):
    """Base of what goes wrong between the bridge and Slurm. The message is for a person."""


class SlurmUnreachable(SlurmError):
    """No answer, or none that makes sense: nothing is known. A submission may have been carried out all the same."""


class SlurmRefused(SlurmError):
    """Slurm said no, in its own words: the user's, or the site's, to solve. Nothing was submitted."""


class Slurm(Protocol):
    """All jobs of this user that carry our names, and nothing else."""

    async def version(self) -> str:
        """Such as 22.05.8. Raises SlurmUnreachable."""
        ...

    async def partitions(self) -> Sequence[Partition]:
        """Raises SlurmUnreachable."""
        ...

    async def jobs(self) -> Sequence[Job]:
        """One query for all jobs of the user: those in the queue, and those that have ended as long as slurmctld remembers them. Raises
        SlurmUnreachable; an empty answer is a positive one only where the controller has answered for itself."""
        ...

    async def recall(self, job_id: str, tag: JobTag) -> Job | None:
        """What the site's accounting says of a job that `jobs` does not tell of any more; None where there is no accounting, or where it
        knows nothing: then nobody knows how it ended. It lags behind by seconds. Raises SlurmUnreachable."""
        ...

    async def controller_started(self) -> datetime:
        """When the slurmctld that answers was started. One that was killed has forgotten its last seconds: a job that was submitted a short
        time before, and that `jobs` does not tell of, was never carried out, or is being killed. Raises SlurmUnreachable."""
        ...

    async def submit(self, submission: Submission) -> str:
        """The job's number. Raises SlurmRefused; SlurmUnreachable when it is not known whether it was submitted: look at `jobs` first,
        by tag, before submitting again."""
        ...

    async def cancel(self, job: Job) -> None:
        """Ends exactly that job: the number is used only while its name, comment and submit time are the same in the queue. One that
        has ended or is unknown is no error. Raises SlurmUnreachable."""
        ...
