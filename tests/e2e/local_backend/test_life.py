"""Starts that are interrupted, workers, suspending, removing."""

from __future__ import annotations

import contextlib
import shutil
import socket
from typing import Any

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.places import temporary_directory
from matrix_operator.backends.port import BackendRefusal, NodePhase
from matrix_operator.looks import Absent, Present

pytestmark = pytest.mark.timeout(900)  # starts of Ray's parts, on a machine that may be busy


def test_a_launcher_killed_in_mid_start_leaves_one_ray_only_and_removing_works_without_the_journal(make: Any, wait: Any) -> None:
    driver = make("gamma")
    assert isinstance(driver.observe(), Absent)
    driver.ensure()
    wait(lambda: driver.pids("gcs"), "the launcher has started the GCS")
    first = driver.pids("gcs")
    driver.kill("launcher")
    driver.up()
    assert len(driver.pids("gcs")) == len(driver.pids("raylet")) == len(driver.pids("dashboard")) == 1
    assert driver.pids("gcs") != first

    shutil.rmtree(driver.journal.directory)
    assert isinstance(driver.observe(), Present), "what runs is never absent"
    print(f"\nremoved after {driver.remove():.1f} s")
    assert driver.pids() == [] and not temporary_directory(driver.uid).exists() and not driver.journal.directory.exists()
    assert isinstance(driver.observe(), Absent)


POSITIONS = (("gcs", "recorded"), ("gcs", "started"), ("dashboard", "recorded"), ("dashboard", "started"), ("raylet", "recorded"))
"""In the order of the start. A part is recorded just before it is started; with the last record the launcher is needed no more."""


def launching(driver: Any) -> bool:
    with contextlib.suppress(BackendRefusal):  # it waits longer each time
        driver.ensure()
    return driver.pids("launcher") != []


def test_a_launcher_killed_at_every_position_of_its_start_leaves_one_ray_only(make: Any, wait: Any) -> None:
    driver = make("epsilon")
    for part, what in POSITIONS:
        before = driver.journal.parts().get(part)
        wait(lambda: launching(driver), "a launcher runs, after the backoff")

        def reached(part: str = part, what: str = what, before: object = before) -> bool:
            return driver.pids(part) != [] if what == "started" else driver.journal.parts().get(part) not in (None, before)

        wait(reached, f"{part} is {what}")
        driver.kill("launcher")
    driver.up()
    assert len(driver.pids("gcs")) == len(driver.pids("raylet")) == len(driver.pids("dashboard")) == 1
    driver.remove()
    assert driver.pids() == [] and not temporary_directory(driver.uid).exists()


def test_another_attempt_makes_all_anew_and_removing_in_mid_start_leaves_nothing(make: Any, wait: Any) -> None:
    driver = make("delta")
    driver.ensure()
    wait(lambda: driver.pids("gcs"), "the launcher has started the GCS")
    first, ports = driver.pids("gcs"), driver.journal.cluster().ports
    driver.attempt = 2
    wait(lambda: (driver.ensure(), driver.pids("gcs") not in ([], first))[1], "another GCS")
    assert driver.journal.cluster().attempt == 2 and driver.journal.cluster().ports == ports
    wait(lambda: driver.pids("gcs"), "the launcher has started the GCS")
    driver.remove()
    driver.remove(1)  # once more: nothing to do
    assert driver.pids() == [] and not temporary_directory(driver.uid).exists() and not driver.journal.directory.exists()


def test_workers_come_up_are_revived_scaled_and_all_of_it_survives_suspending(make: Any, wait: Any, worker_group: Any) -> None:
    driver = make("omega", worker_groups=(worker_group(1),))
    print(f"\nup with a worker: {driver.up():.1f} s")
    wait(lambda: driver.alive_nodes() == ["head", "w-0"], "both nodes alive in Ray")

    driver.kill("w-0")
    assert driver.observe().state.workers[0].phase is NodePhase.RECOVERING
    driver.settle()
    wait(lambda: driver.alive_nodes() == ["head", "w-0"], "the worker is back")

    driver.change(worker_groups=(worker_group(0),))
    wait(lambda: (driver.step(), not driver.pids("w-0"))[1], "the worker is gone")
    wait(lambda: driver.alive_nodes() == ["head"], "Ray knows")
    driver.settle()

    ports = driver.journal.cluster().ports
    driver.change(suspend=True)
    wait(lambda: (driver.ensure(), not driver.pids())[1], "no process")
    assert driver.observe().state.head.reason is ClusterReason.SUSPENDED
    driver.change(suspend=False, worker_groups=(worker_group(1),))
    with (
        socket.create_server(("127.0.0.1", ports.dashboard)),
        pytest.raises(Exception, match=rf"port {ports.dashboard}.*pid \d+") as refused,
    ):
        driver.ensure()
    assert refused.value.reason is ClusterReason.PORT_TAKEN  # type: ignore[attr-defined]
    driver.up()
    assert driver.journal.cluster().ports == ports
    wait(lambda: driver.alive_nodes() == ["head", "w-0"], "both nodes are back")

    driver.change(worker_groups=(worker_group(2).model_copy(update={"name": "renamed"}),))
    before = driver.pids("w-0")
    driver.settle()
    assert driver.pids("w-0") == before and driver.observe().state.wanted_workers == 1, "the change is held back"
    print(f"\nremoved after {driver.remove():.1f} s")
    assert driver.pids() == []
