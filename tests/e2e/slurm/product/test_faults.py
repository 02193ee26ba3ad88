"""One cluster on a real Slurm, and what befalls it: it comes back, with the workers' jobs kept, and never with two heads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.slurm.product.login import PATIENCE, Login, manifest
from tests.lab.api import wait_for

pytestmark = pytest.mark.timeout(2400)
UP = ("--backend", "slurm", "--timeout", "900")


@pytest.fixture(scope="module")
def lab_cluster(alice: Login) -> Iterator[Login]:
    _write(alice, 1)
    alice.matrix("up", str(alice.shared / "lab.yaml"), *UP, seconds=PATIENCE + 60)
    yield alice
    alice.matrix("down", str(alice.shared / "lab.yaml"), seconds=400)
    assert alice.queue() == []


def _write(alice: Login, workers: int) -> None:
    (alice.shared / "lab.yaml").write_text(manifest("lab", w=workers))


def test_workers_come_and_go(lab_cluster: Login) -> None:
    alice = lab_cluster
    first = alice.jobs_of("w")
    for workers in (2, 1):
        _write(alice, workers)
        alice.matrix("up", str(alice.shared / "lab.yaml"), *UP, seconds=PATIENCE + 60)
        alice.wait(lambda count=workers: len(alice.jobs_of("w")) == count, f"{workers} workers have jobs")
    assert alice.jobs_of("w") == first and len(alice.jobs_of("head")) == 1


def test_a_head_that_is_cancelled_by_hand_comes_back_and_the_worker_keeps_its_job(lab_cluster: Login) -> None:
    alice = lab_cluster
    (head,), workers = alice.jobs_of("head"), alice.jobs_of("w")
    alice.type("scancel", head)
    alice.wait(lambda: alice.jobs_of("head") not in ([], [head]), "another head has a job")
    assert len(alice.jobs_of("head")) == 1
    alice.wait(lambda: alice.condition("lab", "WorkersReady").get("status") == "True", "the worker is in the new Ray")
    alice.wait_ready("lab")
    assert alice.jobs_of("w") == workers
    assert "tokens/s" in alice.matrix("chat", "parrot-lab", "Hello")


def test_an_agent_that_is_killed_is_followed_by_one_that_takes_the_jobs_over(lab_cluster: Login) -> None:
    alice = lab_cluster
    before = alice.queue()
    former = alice.controller()
    alice.type("kill", "-9", str(former))
    assert "is gone" in alice.matrix("bridge", "status", status=5)
    alice.matrix("controller", "run", "--detach")
    alice.wait(lambda: alice.controller() != former, "another controller is at work")
    alice.wait(lambda: "as of" in alice.matrix("bridge", "status", status=None), "another agent is at work")
    alice.wait_ready("lab")
    assert alice.queue() == before


def test_while_slurmctld_is_frozen_nothing_is_known_and_nothing_is_done(lab_cluster: Login) -> None:
    alice = lab_cluster
    before = alice.queue()
    alice.lab.slurmctld.freeze()
    try:
        alice.wait(lambda: alice.condition("lab", "BackendReachable").get("status") == "Unknown", "Slurm is unknown")
        assert "tokens/s" in alice.matrix("chat", "parrot-lab", "Hello")
    finally:
        alice.lab.slurmctld.thaw()
    alice.wait(lambda: alice.condition("lab", "BackendReachable").get("status") == "True", "Slurm is known again")
    alice.wait_ready("lab")
    assert alice.queue() == before


def test_a_slurmctld_that_is_killed_costs_nothing(lab_cluster: Login) -> None:
    alice = lab_cluster
    before = alice.queue()
    alice.lab.wait_saved()
    alice.lab.restart_controller(lambda: alice.wait(lambda: _unknown(alice), "Slurm is unknown"))
    alice.wait(lambda: alice.condition("lab", "BackendReachable").get("status") == "True", "Slurm is known again")
    alice.wait_ready("lab")
    assert alice.queue() == before


def _unknown(alice: Login) -> bool:
    return alice.condition("lab", "BackendReachable").get("status") == "Unknown"


def test_a_shared_directory_that_can_not_be_written_to_is_told_and_waited_for(lab_cluster: Login) -> None:
    alice = lab_cluster
    clusters = alice.shared / "matrix" / "clusters"
    (alice.shared / "other.yaml").write_text(manifest("other").split("\n---\n")[0])
    clusters.chmod(0o500)
    try:
        told = alice.matrix("up", str(alice.shared / "other.yaml"), "--backend", "slurm", "--timeout", "20", status=4)
        assert "Permission denied" in told and len(alice.queue()) == 2
    finally:
        clusters.chmod(0o700)
    wait_for(lambda: len(alice.queue()) == 3, "its head has a job", PATIENCE)
    alice.matrix("down", str(alice.shared / "other.yaml"), seconds=400)
    assert len(alice.queue()) == 2
