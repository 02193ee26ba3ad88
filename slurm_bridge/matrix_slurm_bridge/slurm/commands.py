"""The port of Slurm by its commands: what an ordinary user has everywhere, from 22.05 on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from matrix_slurm_bridge.slurm import parsing, process
from matrix_slurm_bridge.slurm.answers import Answer, in_its_words, judge
from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase, Partition, SlurmError, SlurmRefused, SlurmUnreachable, Submission
from matrix_slurm_bridge.slurm.states import why_waiting

QUERY_SECONDS = 30.0
"""A command gives up by itself after 10 s (MessageTimeout) where slurmctld is frozen, and after 9 to 18 s where it is not there; where
munged is frozen, never."""
SUBMIT_SECONDS = 60.0
RECALL_SECONDS = 10.0
"""Nothing but words depends on the accounting, and the look at the queue waits for it."""
POSITION_SECONDS = 60.0
"""How often the whole queue is asked for the places of ours in it."""
_T = TypeVar("_T")
_JOB_ID = re.compile(r"(\d+)(;\S*)?")


class SlurmCommands:
    """`environment`: where the commands are found and run in (default: this process's, of which little is kept); `clock`: seconds.

    No call takes longer than `query_seconds`, but `submit`, which has `submit_seconds`."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        query_seconds: float = QUERY_SECONDS,
        submit_seconds: float = SUBMIT_SECONDS,
    ) -> None:
        self._plain = process.environment(environment)
        self._query_seconds, self._submit_seconds = query_seconds, submit_seconds
        # Times are printed without a zone: in this one we know it.
        self._query = self._plain | {"TZ": "UTC", "LC_ALL": "C"}
        self._clock = clock
        self._places: Mapping[str, int] = {}
        self._places_at: float | None = None
        self._private: bool | None = None

    async def version(self) -> str:
        """Of the controller. Raises SlurmUnreachable."""
        return (await self._settings()).get("SLURM_VERSION", "")

    async def cluster(self) -> str:
        """Its name. Raises SlurmUnreachable."""
        return (await self._settings()).get("ClusterName", "")

    async def default_account(self) -> str | None:
        """The user's, if the site keeps accounts: never an error, since nothing but a suggestion hangs on it."""
        words = ("--noheader", "--parsable2", "show", "user", self._plain.get("USER", ""), "format=DefaultAccount")
        try:
            return (await self._ask("sacctmgr", *words)).strip() or None
        except SlurmUnreachable:
            return None

    async def controller_started(self) -> datetime:
        """When the slurmctld that answers was started. Raises SlurmUnreachable."""
        told = await self._settings()
        return _read(lambda: parsing.settings_time(told["BOOT_TIME"]), "scontrol")

    async def partitions(self) -> Sequence[Partition]:
        """Raises SlurmUnreachable."""
        text = await self._ask("sinfo", "--noheader", f"--format={parsing.PARTITION_FORMAT}")
        return _read(lambda: parsing.partitions(text), "sinfo")

    async def jobs(self) -> Sequence[Job]:
        """Raises SlurmUnreachable."""
        text = await self._ask("squeue", "--noheader", "--me", "--states=all", f"--Format={parsing.QUEUE_FORMAT}")
        jobs = _read(lambda: list(parsing.queue(text)), "squeue")
        places = await self._positions(jobs)
        return [replace(job, queue_position=places.get(job.id)) if _in_line(job) else job for job in jobs]

    async def recall(self, job_id: str, tag: JobTag) -> Job | None:
        """Raises SlurmUnreachable."""
        fields = ",".join(parsing.PAST_FIELDS)
        words = ("--noheader", "--allocations", "--duplicates", "--parsable2", f"--delimiter={parsing.FIELD}", f"--format={fields}")
        done = await process.run(["sacct", *words, f"--jobs={job_id}"], self._query, RECALL_SECONDS)
        if done.status:
            if "accounting storage is disabled" in done.complaint.lower():
                return None
            raise SlurmUnreachable(f"sacct: {in_its_words(done.complaint)}")
        found = _read(lambda: list(parsing.past(done.output)), "sacct")
        return max((one for one in found if one.tag == tag), key=lambda one: one.submitted_at, default=None)

    async def submit(self, submission: Submission) -> str:
        """Raises SlurmRefused, SlurmUnreachable."""
        done = await process.run(["sbatch", "--parsable"], self._plain, self._submit_seconds, submission.script)
        if done.status:
            refused = judge(done.complaint) is Answer.REFUSED
            words = in_its_words(done.complaint) or f"sbatch ended with status {done.status}"
            raise SlurmRefused(words) if refused else SlurmUnreachable(words)
        found = _JOB_ID.fullmatch(done.output.strip().splitlines()[-1] if done.output.strip() else "")
        if found is None:
            raise SlurmUnreachable(f"sbatch said {done.output.strip()!r}, which is no job number")
        return found[1]

    async def cancel(self, job: Job) -> None:
        """Raises SlurmUnreachable."""
        if not await self._is_there(job):
            return
        # No filter beside the number: with one, scancel fetches every job of the site.
        done = await process.run(["scancel", job.id], self._query, self._query_seconds)
        if done.status and judge(done.complaint) is not Answer.UNKNOWN_JOB:
            raise SlurmUnreachable(f"scancel: {in_its_words(done.complaint)}")

    async def _is_there(self, job: Job) -> bool:
        """Whether the number still means that job, and it has not ended. A requeue gives a job a new submit time."""
        words = ("--noheader", "--me", "--states=all", f"--jobs={job.id}", f"--Format={parsing.QUEUE_FORMAT}")
        done = await process.run(["squeue", *words], self._query, self._query_seconds)
        if done.status:
            if judge(done.complaint) is Answer.UNKNOWN_JOB:
                return False
            raise SlurmUnreachable(f"squeue: {in_its_words(done.complaint)}")
        return any(_same(job, now) for now in _read(lambda: list(parsing.queue(done.output)), "squeue"))

    async def _positions(self, jobs: Iterable[Job]) -> Mapping[str, int]:
        """Of ours, as they were a minute ago at most; where the site shows nobody else's jobs there is nothing to say. Never an error: the
        look at the jobs has succeeded."""
        if not any(_in_line(job) for job in jobs):
            return {}
        now = self._clock()
        if self._places_at is None or now - self._places_at >= POSITION_SECONDS:
            self._places_at = now
            try:
                self._places = {} if await self._hides_jobs() else await self._line()
            except SlurmError:
                self._places = {}
        return self._places

    async def _line(self) -> Mapping[str, int]:
        text = await self._ask("squeue", "--noheader", "--states=PENDING", f"--Format={parsing.LINE_FORMAT}")
        return _read(lambda: parsing.positions(text), "squeue")

    async def _hides_jobs(self) -> bool:
        if self._private is None:
            self._private = "jobs" in (await self._settings()).get("PrivateData", "").split(",")
        return self._private

    async def _settings(self) -> Mapping[str, str]:
        return parsing.settings(await self._ask("scontrol", "show", "config"))

    async def _ask(self, *argv: str) -> str:
        done = await process.run(argv, self._query, self._query_seconds)
        if done.status:
            raise SlurmUnreachable(f"{argv[0]}: {in_its_words(done.complaint) or f'status {done.status}'}")
        return done.output


def _in_line(job: Job) -> bool:
    return job.phase is JobPhase.WAITING and not why_waiting(job.reason).theirs


def _same(job: Job, now: Job) -> bool:
    same = now.tag == job.tag and (now.submitted_at == job.submitted_at or now.restarts > job.restarts)
    return same and now.phase not in (JobPhase.ENDED, JobPhase.LOST)


def _read(reading: Callable[[], _T], command: str) -> _T:
    try:
        return reading()
    except (ValueError, KeyError) as error:
        raise SlurmUnreachable(f"what {command} printed can't be read: {error}") from error
