"""An ordinary user of a real Slurm, without Kubernetes: from nothing to an answer, and back to nothing."""

from __future__ import annotations

import pytest

from tests.e2e.slurm.product.login import EXAMPLE, PATIENCE, Login, manifest

pytestmark = pytest.mark.timeout(2400)


def test_from_nothing_to_an_answer_and_back(alice: Login) -> None:
    assert "no agent is at work" in alice.matrix("bridge", "status", status=5)
    assert "all is well" in alice.matrix("bridge", "doctor") or "warning" in alice.matrix("bridge", "doctor")
    told = alice.matrix("up", str(EXAMPLE), "--backend", "slurm", "--timeout", "900", seconds=PATIENCE + 60)
    assert "is submitted" in told and "ready in" in told
    assert "Slurm" in alice.matrix("get", "matrix") and "is ready" in alice.matrix("why", "mxc/dummy")
    assert "tokens/s" in _answer(alice, "parrot")
    assert "agent: process" in alice.matrix("bridge", "status")
    head = alice.jobs_of("head")
    assert len(head) == 1
    name = next(job.name for job in alice.queue() if job.id == head[0])
    stranger = alice.type("sbatch", "--parsable", f"--job-name={name}", "--wrap", "sleep 600", "--output=/dev/null").strip()
    alice.matrix("down", str(EXAMPLE), seconds=400)
    assert [job.id for job in alice.queue() if job.state in ("R", "PD")] == [stranger]
    assert list((alice.shared / "matrix" / "clusters").iterdir()) == []
    alice.type("scancel", stranger)


def _answer(alice: Login, model: str) -> str:
    """Of this engine some requests fail on purpose."""
    for _ in range(5):
        told = alice.matrix("chat", model, "Hello", status=None)
        if "tokens/s" in told:
            return told
    return told


def test_a_head_that_no_node_can_hold_ends_the_waiting_with_slurms_reason(alice: Login) -> None:
    text = manifest("big").replace('"cpu": 2', '"cpu": 64')
    (alice.shared / "big.yaml").write_text(text)
    told = alice.matrix("up", str(alice.shared / "big.yaml"), "--backend", "slurm", "--timeout", "300", seconds=400, status=None)
    assert "InsufficientResources" in told and "the partition never has what it asks for" in told and "still not Ready" not in told
    alice.matrix("down", str(alice.shared / "big.yaml"), seconds=400)
    assert [job for job in alice.queue() if job.state in ("R", "PD")] == []


def test_a_profile_that_is_not_there_and_two_backends_are_told_at_once(alice: Login) -> None:
    told = alice.matrix("up", str(EXAMPLE), "--backend", "slurm", "--profile", "huge", status=2)
    assert "no profile 'huge'; the site's file has default" in told
    assert alice.queue() == []
