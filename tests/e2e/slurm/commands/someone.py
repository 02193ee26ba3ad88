"""A user of a real Slurm, through the adapter."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable, Sequence

from matrix_slurm_bridge.slurm.commands import QUERY_SECONDS, SUBMIT_SECONDS, SlurmCommands
from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase, Submission
from tests.lab.slurm.lab import SlurmLab

SLEEP = "exec sleep 600"


class Someone:
    """`name`: one of the lab's users; `deadline`: of each call, seconds. Each has a cluster of their own for each test."""

    def __init__(self, lab: SlurmLab, name: str, deadline: float | None = None) -> None:
        self.lab = lab
        self.name = name
        self.uid = str(uuid.uuid4())
        self._indexes = itertools.count()
        environment = {"PATH": f"{lab.commands(lab.users[name])}:/usr/bin:/bin", "USER": name}
        query, submit = (deadline, deadline) if deadline else (QUERY_SECONDS, SUBMIT_SECONDS)
        self.slurm = SlurmCommands(environment, query_seconds=query, submit_seconds=submit)

    def tag(self, role: str = "gpu") -> JobTag:
        """Another one each time."""
        return JobTag(self.uid, role, next(self._indexes), attempt=1, serial=1)

    def submission(self, body: str, directives: Sequence[str] = (), tag: JobTag | None = None) -> Submission:
        tag = tag or self.tag()
        own = [f"--job-name={tag.job_name}", f"--comment={tag.comment}", f"--output={self.lab.shared}/%j.log", "--mem=100M"]
        lines = ["#!/bin/bash", *(f"#SBATCH {directive}" for directive in [*own, *directives]), body]
        return Submission(tag, "\n".join(lines) + "\n")

    def submit(self, body: str, *directives: str, tag: JobTag | None = None) -> JobTag:
        """Raises what the adapter raises."""
        submission = self.submission(body, directives, tag)
        asyncio.run(self.slurm.submit(submission))
        return submission.tag

    def jobs(self) -> Sequence[Job]:
        """Those of this cluster, as they are now."""
        return [job for job in asyncio.run(self.slurm.jobs()) if job.tag.uid == self.uid]

    def job(self, tag: JobTag) -> Job:
        """The one that is there."""
        [job] = [job for job in self.jobs() if job.tag == tag]
        return job

    def until(self, tag: JobTag, holds: Callable[[Job], bool], seconds: float = 60.0) -> Job:
        """The job, as soon as that holds of it."""
        deadline = time.monotonic() + seconds
        job = self.job(tag)
        while not holds(job):
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {job}"
            time.sleep(0.2)
            job = self.job(tag)
        return job

    def running(self, body: str, *directives: str) -> Job:
        """A job that has started."""
        return self.until(self.submit(body, *directives), is_running)

    def ended(self, tag: JobTag, seconds: float = 60.0) -> Job:
        return self.until(tag, is_over, seconds)

    def cancel(self, job: Job) -> None:
        asyncio.run(self.slurm.cancel(job))


def is_running(job: Job) -> bool:
    return job.phase is JobPhase.RUNNING


def is_waiting(job: Job) -> bool:
    return job.phase is JobPhase.WAITING


def is_over(job: Job) -> bool:
    return job.phase in (JobPhase.ENDED, JobPhase.LOST)
