"""Only what is ours is seen, and only what is ours is ended."""

from __future__ import annotations

from dataclasses import replace

from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.port import JobPhase
from tests.e2e.slurm.commands.someone import SLEEP, Someone, is_running


def test_anothers_job_of_our_name_and_comment_is_neither_seen_nor_ended(alice: Someone, bob: Someone) -> None:
    mine = alice.running(SLEEP)
    theirs = bob.until(bob.submit(SLEEP), is_running)
    forged = bob.submission(SLEEP, tag=mine.tag)
    stranger = alice.lab.run("sbatch", "--parsable", user="bob", stdin=forged.script).strip()
    assert [job.id for job in alice.jobs()] == [mine.id]
    alice.cancel(replace(mine, id=stranger))
    alice.cancel(replace(mine, id=theirs.id))
    alice.cancel(mine)
    alice.ended(mine.tag)
    assert state(alice, stranger) in ("RUNNING", "PENDING") and bob.job(theirs.tag).phase is JobPhase.RUNNING


def test_ones_own_job_of_such_a_name_without_the_comment_is_neither_seen_nor_ended(alice: Someone) -> None:
    mine = alice.running(SLEEP)
    words = ("sbatch", "--parsable", f"--job-name={mine.tag.job_name}", "--mem=100M", f"--output={alice.lab.shared}/%j.log")
    plain = alice.lab.run(*words, user="alice", stdin=f"#!/bin/bash\n{SLEEP}\n").strip()
    odd = alice.lab.run(*words, "--comment=a\nb|c\x1fd", user="alice", stdin=f"#!/bin/bash\n{SLEEP}\n").strip()
    assert [job.id for job in alice.jobs()] == [mine.id]
    for number in (plain, odd):
        alice.cancel(replace(mine, id=number))
        assert state(alice, number) in ("RUNNING", "PENDING")


def test_a_number_that_means_another_job_of_ours_now_is_not_ended(alice: Someone) -> None:
    first, second = alice.running(SLEEP), alice.running(SLEEP)
    alice.cancel(replace(first, id=second.id))
    alice.cancel(replace(first, submitted_at=first.submitted_at.replace(year=2020)))
    alice.cancel(replace(first, tag=JobTag(first.tag.uid, "gpu", first.tag.index, 2, 1)))
    alice.cancel(replace(first, id="999999"))
    assert {job.phase for job in alice.jobs()} == {JobPhase.RUNNING}


def state(someone: Someone, number: str) -> str:
    return someone.lab.run("squeue", "-h", "-j", number, "-o", "%T").strip()
