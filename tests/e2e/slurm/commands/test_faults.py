"""Slurm that does not answer, that answers late, and that has forgotten: a failed look is never an absence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from matrix_slurm_bridge.slurm.commands import SlurmCommands
from matrix_slurm_bridge.slurm.port import JobPhase, SlurmUnreachable
from tests.e2e.slurm.commands.someone import SLEEP, Someone, is_running
from tests.lab.api import wait_for

pytestmark = pytest.mark.timeout(600)


def every_call(someone: Someone, job: Any) -> list[Callable[[], Any]]:
    slurm = someone.slurm
    return [
        lambda: asyncio.run(slurm.jobs()),
        lambda: someone.cancel(job),
        lambda: asyncio.run(slurm.partitions()),
        lambda: asyncio.run(slurm.controller_started()),
        lambda: someone.submit(SLEEP),
    ]


def test_without_a_controller_every_call_says_so_and_nothing_is_lost(alice: Someone) -> None:
    job = alice.running(SLEEP)
    lab = alice.lab
    lab.wait_saved()
    lab.slurmctld.kill()
    try:
        for call in every_call(alice, job):
            before = time.monotonic()
            with pytest.raises(SlurmUnreachable):
                call()
            assert time.monotonic() - before < 70
    finally:
        lab.restart_controller()
    assert alice.until(job.tag, is_running).id == job.id
    assert [one.tag for one in alice.jobs()] == [job.tag], "what could not be submitted is not there"


def test_a_job_that_was_submitted_to_a_frozen_controller_is_there_when_it_thaws(alice: Someone) -> None:
    lab, tag = alice.lab, alice.tag()
    lab.slurmctld.freeze()
    try:
        with pytest.raises(SlurmUnreachable):
            alice.submit(SLEEP, tag=tag)
        with pytest.raises(SlurmUnreachable):
            alice.jobs()
    finally:
        lab.slurmctld.thaw()
    wait_for(lambda: [job.tag for job in alice.jobs()] == [tag], "the one job is there", 60)


def test_a_frozen_munge_has_a_deadline_and_leaves_no_process(alice: Someone) -> None:
    hasty = Someone(alice.lab, "alice", deadline=5)
    job = alice.running(SLEEP)
    alice.lab.munged.freeze()
    try:
        for call in every_call(hasty, job):
            before = time.monotonic()
            with pytest.raises(SlurmUnreachable, match="within 5 s"):
                call()
            assert time.monotonic() - before < 15
        commands = {"sbatch", "squeue", "scancel", "sinfo", "scontrol"}
        wait_for(lambda: not set(alice.lab.login.names()) & commands, "what was killed is gone", 60)
    finally:
        alice.lab.munged.thaw()
    patient = Someone(alice.lab, "alice")
    patient.uid = hasty.uid
    assert alice.job(job.tag).phase is JobPhase.RUNNING and patient.jobs() == []


def test_a_forgotten_jobs_number_means_another_job_which_is_not_taken_for_it(alice: Someone) -> None:
    alice.lab.wait_saved()
    with alice.lab.losing_what_happens():
        forgotten = alice.until(alice.submit(SLEEP), lambda job: True)
    assert alice.jobs() == [], "this look has succeeded"
    started = asyncio.run(alice.slurm.controller_started())
    assert started >= forgotten.submitted_at.replace(microsecond=0), "by which the loss is known"
    other = alice.until(alice.submit(SLEEP), lambda job: True)
    assert other.id == forgotten.id and other.tag != forgotten.tag
    alice.cancel(forgotten)
    alice.until(other.tag, is_running)


def test_a_machine_without_slurm_is_told_so() -> None:
    slurm = SlurmCommands({"PATH": "/nowhere"})
    with pytest.raises(SlurmUnreachable, match="login node"):
        asyncio.run(slurm.jobs())
