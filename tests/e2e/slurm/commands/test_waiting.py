"""Why jobs wait on a real Slurm, and what it refuses at once."""

from __future__ import annotations

import asyncio

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.slurm.port import Job, JobPhase, SlurmRefused
from matrix_slurm_bridge.slurm.states import how_ended, why_waiting
from tests.e2e.slurm.commands.someone import SLEEP, Someone, is_waiting
from tests.lab.api import wait_for
from tests.lab.slurm.lab import SlurmLab
from tests.lab.slurm.settings import CPUS

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("directive", "reason", "means"),
    [
        ("--hold", "JobHeldUser", ClusterReason.UNSCHEDULABLE),
        ("--partition=closed", "PartitionDown", ClusterReason.UNSCHEDULABLE),
        ("--partition=short --time=10", "PartitionTimeLimit", ClusterReason.INSUFFICIENT_RESOURCES),
        ("--cpus-per-task=99", "PartitionConfig", ClusterReason.INSUFFICIENT_RESOURCES),
        ("--begin=now+1hour", "BeginTime", ClusterReason.QUEUED),
    ],
)
def test_what_a_job_waits_for(alice: Someone, directive: str, reason: str, means: ClusterReason) -> None:
    job = alice.until(alice.submit(SLEEP, directive), lambda job: job.reason == reason)
    verdict = why_waiting(job.reason)
    assert job.phase is JobPhase.WAITING and verdict.reason is means and verdict.theirs == (means is not ClusterReason.QUEUED)
    assert verdict.theirs or job.queue_position is not None
    alice.cancel(job)
    assert alice.ended(job.tag).state == "CANCELLED"


def test_a_dependency_that_never_comes_true(alice: Someone) -> None:
    failed = alice.ended(alice.submit("exit 1"))
    job = alice.until(alice.submit(SLEEP, f"--dependency=afterok:{failed.id}"), lambda job: job.reason == "DependencyNeverSatisfied")
    assert why_waiting(job.reason).theirs


def test_a_node_that_is_drained(alice: Someone) -> None:
    node = alice.lab.nodes[0].name
    alice.lab.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    try:
        job = alice.until(alice.submit(SLEEP, f"--nodelist={node}"), lambda job: "ReqNodeNotAvail" in job.reason)
        assert why_waiting(job.reason).theirs and node in why_waiting(job.reason).message
    finally:
        alice.lab.run("scontrol", "update", f"nodename={node}", "state=resume")


def test_the_place_in_the_line_and_the_expected_start(alice: Someone, bob: Someone) -> None:
    whole = (f"--cpus-per-task={CPUS}", "--time=30")
    for _ in alice.lab.nodes:
        bob.running(SLEEP, *whole)
    bob.submit(SLEEP, *whole, "--nodes=2")
    second, third = alice.submit(SLEEP, *whole), alice.submit(SLEEP, *whole)
    job = alice.until(third, lambda job: job.expected_start is not None and job.reason in ("Priority", "Resources"), 180)
    assert job.expected_start and job.expected_start > job.submitted_at and not why_waiting(job.reason).theirs
    late = Someone(alice.lab, "alice")  # its look at the line is a new one
    late.uid = alice.uid
    assert (late.job(second).queue_position, late.job(third).queue_position) == (2, 3)


def test_where_others_jobs_are_hidden_no_place_is_claimed(alice: Someone) -> None:
    alice.lab.reconfigure(PrivateData="jobs")
    try:
        job = alice.until(alice.submit(SLEEP, "--begin=now+1hour"), is_waiting)
        assert job.queue_position is None
    finally:
        alice.lab.reconfigure(PrivateData="none")


REFUSED = [
    "--partition=nowhere",
    "--mem=1T",
    "--constraint=quantum",
    "--gres=gpu:quantum:1",
    "--gpus-per-node=99",
    "--nodelist=nowhere",
    "--reservation=none",
    "--time=soon",
    "--no-such-option",
    "--nodes=many",
]


def complaint(someone: Someone, directive: str) -> str:
    """Empty for a job that was taken."""
    try:
        someone.submit(SLEEP, directive)
    except SlurmRefused as error:
        return str(error)
    return ""


def test_what_is_refused_is_said_in_slurms_words_and_nothing_of_it_waits(alice: Someone) -> None:
    said = {directive: complaint(alice, directive) for directive in REFUSED}
    assert [directive for directive, words in said.items() if not words or "\n" in words] == []
    for job in alice.jobs():  # slurmctld keeps a record of some
        assert job.phase is JobPhase.ENDED and how_ended(job).theirs and how_ended(job).reason is ClusterReason.INVALID_SPEC


def test_what_is_no_script_is_refused(alice: Someone) -> None:
    submission = alice.submission(SLEEP)
    for script in ("", "hello", submission.script.replace("\n", "\r\n")):
        with pytest.raises(SlurmRefused):
            asyncio.run(alice.slurm.submit(type(submission)(submission.tag, script)))
    assert alice.jobs() == []


def test_with_accounting_accounts_and_qos_are_checked_and_the_past_is_known(slurm_lab_with_accounting: SlurmLab) -> None:
    alice, bob = (Someone(slurm_lab_with_accounting, name) for name in ("alice", "bob"))
    for directive in ("--account=nobody", "--qos=none"):
        with pytest.raises(SlurmRefused):
            alice.submit(SLEEP, directive)
    with pytest.raises(SlurmRefused, match="account"):
        bob.submit(SLEEP)
    job = alice.ended(alice.submit("exit 3"))

    def recalled() -> Job | None:
        return asyncio.run(alice.slurm.recall(job.id, job.tag))

    # It hears of the start and of the end one after the other.
    wait_for(lambda: (found := recalled()) is not None and found.phase is JobPhase.ENDED, "the accounting knows its end", 60)
    past = recalled()
    assert past is not None and (past.id, past.tag, past.state, past.exit_code) == (job.id, job.tag, "FAILED", "3:0")
    assert asyncio.run(alice.slurm.default_account()) == "team-a"


def test_without_accounting_the_past_is_not_known(alice: Someone) -> None:
    job = alice.ended(alice.submit("exit 3"))
    assert asyncio.run(alice.slurm.recall(job.id, job.tag)) is None and asyncio.run(alice.slurm.default_account()) is None
