"""One cluster on a real Slurm, and what befalls it: it comes back, with the workers' jobs kept, and never with two heads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.slurm.product.conftest import Report
from tests.e2e.slurm.product.login import LARGE, PATIENCE, Login, manifest
from tests.lab.api import wait_for
from tests.lab.processes import Process
from tests.lab.slurm.lab import Node
from tests.lab.slurm.settings import CPUS

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
    (alice.shared / "lab.yaml").write_text(manifest("lab", memory=LARGE, w=workers))


def test_workers_come_and_go(lab_cluster: Login) -> None:
    alice = lab_cluster
    first = alice.jobs_of("w")
    for workers in (2, 1):
        _write(alice, workers)
        alice.matrix("up", str(alice.shared / "lab.yaml"), *UP, seconds=PATIENCE + 60)
        alice.wait(lambda count=workers: len(alice.jobs_of("w")) == count, f"{workers} workers have jobs")
    assert alice.jobs_of("w") == first and len(alice.jobs_of("head")) == 1


def test_a_head_that_is_cancelled_by_hand_comes_back_and_the_worker_keeps_its_job(lab_cluster: Login, report: Report) -> None:
    alice = lab_cluster
    (head,), workers = alice.jobs_of("head"), alice.jobs_of("w")
    alice.type("scancel", head)
    began = time.monotonic()
    alice.wait(lambda: replaced(alice, "head", head), "another head has a job")
    alice.wait(lambda: answers(alice), "the model answers")
    report(f"head's job cancelled: the model answers again after {time.monotonic() - began:.0f} s")
    alice.wait(lambda: workers_ready(alice), "the worker is in the new Ray")
    report(f"    and the worker is in the new Ray after {time.monotonic() - began:.0f} s")
    alice.wait_ready("lab")
    assert alice.jobs_of("w") == workers


def replaced(alice: Login, role: str, former: str) -> bool:
    """By one other job, and the former one has left the queue."""
    jobs = alice.jobs_of(role)
    return len(jobs) == 1 and jobs != [former]


def answers(alice: Login) -> bool:
    return "tokens/s" in alice.matrix("chat", "parrot-lab", "Hello", status=None)


def workers_ready(alice: Login) -> bool:
    return alice.condition("lab", "WorkersReady").get("status") == "True"


def record_file(alice: Login) -> Path:
    """Of the one cluster."""
    [found] = (alice.shared / "matrix" / "clusters").glob("*/head.json")
    return found


def test_a_head_record_that_is_damaged_is_written_again(lab_cluster: Login) -> None:
    alice, file = lab_cluster, record_file(lab_cluster)
    before, record = alice.queue(), json.loads(file.read_text())
    for damage in (lambda: file.write_text(file.read_text()[:40]), file.unlink):
        damage()
        wait_for(lambda: _read(file) == record, "it is whole", 120)
    alice.wait_ready("lab")
    assert alice.queue() == before and answers(alice)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


FULL = ("No space left", "disk is full")


def test_a_worker_is_cancelled_by_hand_while_the_shared_directory_is_full(lab_cluster: Login, report: Report) -> None:
    alice = lab_cluster
    heads, [worker] = alice.jobs_of("head"), alice.jobs_of("w")
    with alice.lab.full():
        assert answers(alice)
        alice.type("scancel", worker)
        alice.wait(lambda: any(word in alice.matrix("why", "mxc/lab", status=None) for word in FULL), "it is told")
        assert alice.jobs_of("head") == heads and alice.jobs_of("w") in ([], [worker])
    began = time.monotonic()
    alice.wait(lambda: replaced(alice, "w", worker) and workers_ready(alice), "another worker is there")
    report(
        f"worker's job cancelled: another one is in the Ray {time.monotonic() - began:.0f} s after there was room for it to be submitted"
    )
    assert alice.jobs_of("head") == heads


TAKES = """
import socket, sys, time
claim, port = map(int, sys.argv[1:])
while not any(f":{claim:04X} " in line and " 0A " in line for line in open("/proc/net/tcp")):
    time.sleep(0.001)
with socket.create_server(("", port)):
    print("taken", flush=True)
    time.sleep(3600)
"""
"""A stranger's program: it listens at a port of a block as soon as that is claimed."""


@contextmanager
def strangers(bob: Login, nodes: list[Node], claim: int, port: int) -> Iterator[list[Path]]:
    """What they say, one on each of those nodes."""
    logs = bob.lab.directory / "log"
    made = [
        Process(
            f"stranger-{node.name}",
            node.place.argv("/usr/bin/python3", "-c", TAKES, str(claim), str(port), user=bob.user),
            bob.lab.directory,
            logs / f"stranger-{node.name}-{port}.log",
        )
        for node in nodes
    ]
    try:
        for process in made:
            process.start()
        yield [process.log for process in made]
    finally:
        for process in made:
            process.kill()


def taken(logs: list[Path]) -> bool:
    return any("taken" in log.read_text() for log in logs if log.exists())


def nodes(alice: Login, *names: str) -> list[Node]:
    return [node for node in alice.lab.nodes if node.name in names]


def test_a_head_and_then_a_worker_that_a_higher_partition_takes_come_back_past_strangers_at_their_ports(
    lab_cluster: Login, report: Report
) -> None:
    """Each on another node, where somebody takes one of its ports in the moment between its choice and its use."""
    alice, bob = lab_cluster, replace(lab_cluster, user=lab_cluster.lab.users["bob"])
    (head,), (worker,) = alice.jobs_of("head"), alice.jobs_of("w")
    first, second = alice.host(head), alice.host(worker)
    third = [node for node in alice.lab.nodes if node.name not in (first, second)]
    gcs = json.loads(record_file(alice).read_text())["ports"]["gcs"]
    with strangers(bob, third, gcs - 1, gcs) as logs:
        high = [takes(bob, first)]
        began = time.monotonic()
        alice.wait(lambda: replaced(alice, "head", head), "another head has a job")
        alice.wait(lambda: answers(alice), "the model answers")
        report(f"head preempted, and a port of its next place taken: the model answers again after {time.monotonic() - began:.0f} s")
        assert taken(logs) and alice.jobs_of("w") == [worker]

    words = [json.loads(file.read_text()) for file in record_file(alice).parent.glob("nodes/w-0-*.json")]
    [ports] = [word["ports"] for word in words if word["jobId"] == worker]
    high.append(takes(bob, second))
    alice.wait(lambda: f"job {worker} waits" in alice.matrix("why", "mxc/lab", status=None), "it is told what the worker waits for")
    with strangers(bob, nodes(alice, first, second), ports["claim"], ports["node-manager"]) as logs:
        bob.type("scancel", *high)
        began = time.monotonic()
        alice.wait(lambda: workers_ready(alice), "the worker is in the Ray")
        report(f"worker preempted, and a port of its next place taken: back {time.monotonic() - began:.0f} s after a node was free")
        assert taken(logs)
    alice.wait_ready("lab")
    assert alice.jobs_of("w") == [worker]


def takes(bob: Login, node: str) -> str:
    """The job that has that node for itself."""
    return bob.sleeps("--partition=high", f"--cpus-per-task={CPUS}", f"--nodelist={node}")


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
