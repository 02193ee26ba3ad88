"""How jobs end on a real Slurm, and what is said of it: each row of what was measured."""

from __future__ import annotations

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.slurm.port import Job, JobPhase
from matrix_slurm_bridge.slurm.states import how_ended
from tests.e2e.slurm.commands.someone import SLEEP, Someone, is_over, is_running, is_waiting
from tests.lab.api import wait_for
from tests.lab.slurm.lab import SlurmLab
from tests.lab.slurm.settings import CPUS

pytestmark = pytest.mark.timeout(400)


def row(job: Job) -> tuple[str, str, str]:
    return job.state, job.reason, job.exit_code


@pytest.mark.parametrize(
    ("body", "directive", "expected", "words"),
    [
        ("exit 0", "", ("COMPLETED", "", "0:0"), "ended by itself"),
        ("exit 3", "", ("FAILED", "NonZeroExitCode", "3:0"), "status 3"),
        ("kill -9 $$", "", ("FAILED", "JobLaunchFailure", "0:9"), "signal 9"),
        (SLEEP, "--output=/nowhere/at/all", ("FAILED", "JobLaunchFailure", "0:53"), "log's directory"),
    ],
)
def test_an_end(alice: Someone, body: str, directive: str, expected: tuple[str, str, str], words: str) -> None:
    job = alice.ended(alice.submit(body, directive) if directive else alice.submit(body))
    assert row(job) == expected and job.phase is JobPhase.ENDED and words in how_ended(job).message
    assert job.started_at and job.ended_at and job.ended_at >= job.started_at >= job.submitted_at and job.ends_at is None


def test_a_running_job_has_a_host_and_an_end_and_a_cancelled_one_is_said_so(alice: Someone) -> None:
    job = alice.running(SLEEP, "--time=90")
    assert job.host in {node.name for node in alice.lab.nodes} and job.partition == "main" and job.ends_at and job.started_at
    assert 5390 <= (job.ends_at - job.started_at).total_seconds() <= 5410
    alice.cancel(job)
    job = alice.ended(job.tag)
    assert row(job) == ("CANCELLED", "", "0:15") and how_ended(job).reason is ClusterReason.RECOVERING
    alice.cancel(job)


def test_a_time_limit(alice: Someone) -> None:
    job = alice.ended(alice.submit(SLEEP, "--time=1"), 200)
    assert row(job) == ("TIMEOUT", "TimeLimit", "0:15") and "time limit" in how_ended(job).message


def test_a_requeued_job_is_the_same_job_and_its_old_description_still_cancels_it(alice: Someone) -> None:
    before = alice.running(SLEEP, "--requeue")
    alice.lab.run("scontrol", "requeue", before.id, user="alice")
    waiting = alice.until(before.tag, lambda job: is_waiting(job) and job.restarts == 1 and job.reason == "BeginTime")
    assert (waiting.id, waiting.started_at) == (before.id, None)
    again = alice.until(before.tag, is_running, 120)
    assert (again.id, again.restarts) == (before.id, 1)
    alice.cancel(before)
    assert alice.ended(before.tag).state == "CANCELLED"


def test_a_preempted_job_is_lost_or_waits_again_as_it_was_submitted(alice: Someone, bob: Someone) -> None:
    whole = (f"--cpus-per-task={CPUS}", "--partition=main")
    lost = alice.running(SLEEP, *whole, "--no-requeue")
    back = alice.running(SLEEP, *whole, "--requeue")
    for _ in alice.lab.nodes:
        bob.submit(SLEEP, f"--cpus-per-task={CPUS}", "--partition=high")
    job = alice.ended(lost.tag, 120)
    assert job.state == "PREEMPTED" and job.phase is JobPhase.LOST and how_ended(job).reason is ClusterReason.EVICTED
    assert alice.until(back.tag, lambda job: is_waiting(job) and job.restarts == 1, 120).id == back.id


def test_a_node_that_fails_while_the_old_processes_run_on(alice: Someone) -> None:
    node = alice.lab.nodes[0]
    on = (f"--nodelist={node.name}",)
    head, worker = alice.running(SLEEP, *on, "--no-requeue"), alice.running(SLEEP, *on, "--requeue")
    wait_for(lambda: node.place.names().count("sleep") >= 2, "their processes have begun", 60)
    node.slurmd.kill()
    try:
        lost = alice.until(head.tag, is_over, 120)
        assert lost.state == "NODE_FAIL" and lost.phase is JobPhase.LOST and how_ended(lost).reason is ClusterReason.NODE_LOST
        assert alice.until(worker.tag, is_waiting, 120).restarts == 1
        assert node.place.names().count("sleep") >= 2, "nobody has told them"
    finally:
        alice.lab.cancel_jobs()
        node.slurmd.start()
        alice.lab.wait_idle()
    wait_for(lambda: "sleep" not in node.place.names(), "the new slurmd ends what is left", 120)


def test_out_of_memory(slurm_lab_with_cgroups: SlurmLab) -> None:
    user = Someone(slurm_lab_with_cgroups, "alice")
    hog = "exec /usr/bin/python3 -c 'x = bytearray(10**9)'"
    job = user.ended(user.submit(hog))
    assert row(job) == ("OUT_OF_MEMORY", "OutOfMemory", "0:125") and how_ended(job).reason is ClusterReason.OUT_OF_MEMORY
