"""An ordinary user of a real Slurm, without Kubernetes: from nothing to an answer, and back to nothing, by the commands of docs/slurm.md as
they are written there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.page import ROOT, blocks
from tests.e2e.slurm.product.login import Login, LoginTerminal, manifest

pytestmark = pytest.mark.timeout(2400)
PAGE = ROOT / "docs" / "slurm.md"
TAKES_GIGABYTES = "matrix bridge install-runtime"
"""The one command that is left out: the nodes use this checkout's environment, which `init` writes into the site's file."""


@pytest.fixture(scope="module")
def terminal(newcomer: Login) -> Iterator[LoginTerminal]:
    typed = LoginTerminal(newcomer, keeps=lambda line: not line.startswith(TAKES_GIGABYTES))
    yield typed
    typed.close()


@pytest.fixture(scope="module")
def alice(newcomer: Login, terminal: LoginTerminal) -> Login:
    """She has done what the page says once."""
    told = "".join(terminal.must_run(block) for block in blocks(PAGE, "Set it up, once"))
    assert "site.yaml: read it" in told and ("all is well" in told or "warning" in told)
    return newcomer


def test_from_nothing_to_an_answer_and_back(alice: Login, terminal: LoginTerminal) -> None:
    assert "no agent is at work" in alice.matrix("bridge", "status", status=5)
    up, down = blocks(PAGE, "A first cluster")
    told = terminal.must_run(up)
    assert "is submitted" in told and "ready in" in told and "tokens/s" in told and "mx-" in told
    assert "Slurm" in alice.matrix("get", "matrix") and "is ready" in alice.matrix("why", "mxc/dummy")
    head = alice.jobs_of("head")
    assert len(head) == 1
    name = next(job.name for job in alice.queue() if job.id == head[0])
    stranger = alice.type("sbatch", "--parsable", f"--job-name={name}", "--wrap", "sleep 600", "--output=/dev/null").strip()
    assert "agent: process" in terminal.must_run(down)
    assert [job.id for job in alice.queue() if job.state in ("R", "PD")] == [stranger]
    assert list((alice.shared / "matrix" / "clusters").iterdir()) == []
    alice.type("scancel", stranger)


def test_a_head_that_no_node_can_hold_ends_the_waiting_with_slurms_reason(alice: Login) -> None:
    text = manifest("big").replace('"cpu": 2', '"cpu": 64')
    (alice.shared / "big.yaml").write_text(text)
    told = alice.matrix("up", str(alice.shared / "big.yaml"), "--backend", "slurm", "--timeout", "300", seconds=400, status=None)
    assert "InsufficientResources" in told and "the partition never has what it asks for" in told and "still not Ready" not in told
    alice.matrix("down", str(alice.shared / "big.yaml"), seconds=400)
    assert [job for job in alice.queue() if job.state in ("R", "PD")] == []


def test_a_profile_that_is_not_there_and_two_backends_are_told_at_once(alice: Login) -> None:
    example = str(ROOT / "examples" / "dummy.yaml")
    told = alice.matrix("up", example, "--backend", "slurm", "--profile", "huge", status=2)
    assert "no profile 'huge'; the site's file has default" in told
    assert alice.queue() == []
