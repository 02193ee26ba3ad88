"""kill -9 of each part, and journals that are lost: the cluster comes back by itself."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from matrix_operator.backends.port import NodePhase

pytestmark = pytest.mark.timeout(900)  # starts of Ray's parts, on a machine that may be busy

APP = """
import os
from pathlib import Path
from ray import serve

@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0})
class Echo:
    def __init__(self, directory):
        Path(directory, "replica.pid").write_text(str(os.getpid()))

def build(args):
    return Echo.bind(args["directory"])
"""


@pytest.fixture(scope="module")
def replica(alpha: Any, wait: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Serve replica on the cluster; a function that gives the pid of the living one."""
    directory = tmp_path_factory.mktemp("app")
    (directory / "echo_app.py").write_text(APP)
    application = {
        "name": "echo",
        "route_prefix": None,
        "import_path": "echo_app:build",
        "args": {"directory": str(directory)},
        "runtime_env": {"env_vars": {"PYTHONPATH": str(directory)}},
    }
    config = {"proxy_location": "Disabled", "applications": [application]}
    wait(lambda: alpha.rest("/api/serve/applications/", config, "PUT") is not None, "Serve takes the config")
    wait(lambda: running(alpha), "the replica runs")

    def living() -> int | None:
        with suppress(ValueError, psutil.NoSuchProcess):  # it is being written, or has just ended
            pid = int(Path(directory, "replica.pid").read_text())
            return pid if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else None
        return None

    return living


def running(driver: Any) -> bool:
    answer = driver.rest("/api/serve/applications/") or {}
    return answer.get("applications", {}).get("echo", {}).get("status") == "RUNNING"


def recover(driver: Any, part: str, wait: Any) -> None:
    """Kill it, bring it back as the engine would, and say how long that took."""
    begun = time.monotonic()
    dead = driver.kill(part)
    state = driver.observe().state.head
    assert state.phase is NodePhase.RECOVERING and "ended" in state.message
    driver.settle()
    assert driver.pids(part) not in ([], [dead])
    back = time.monotonic() - begun
    wait(lambda: running(driver), "Serve answers and the application runs")
    print(f"\n{part} killed: process back after {back:.1f} s, application running by REST after {time.monotonic() - begun:.1f} s")


def test_a_killed_gcs_comes_back_and_the_replica_lives_on(alpha: Any, replica: Any, wait: Any) -> None:
    before = replica()
    others = alpha.pids("raylet") + alpha.pids("dashboard")
    recover(alpha, "gcs", wait)
    assert replica() == before
    assert alpha.pids("raylet") + alpha.pids("dashboard") == others


def test_a_killed_dashboard_comes_back_on_its_port_and_the_replica_lives_on(alpha: Any, replica: Any, wait: Any) -> None:
    before, url = replica(), alpha.address().dashboard_url
    others = alpha.pids("raylet") + alpha.pids("gcs")
    recover(alpha, "dashboard", wait)
    assert replica() == before and alpha.address().dashboard_url == url
    assert alpha.pids("raylet") + alpha.pids("gcs") == others


def test_a_killed_raylet_comes_back_and_the_replica_is_made_anew(alpha: Any, replica: Any, wait: Any) -> None:
    before = replica()
    others = alpha.pids("gcs") + alpha.pids("dashboard")
    recover(alpha, "raylet", wait)
    wait(lambda: replica() not in (None, before), "a new replica")
    assert alpha.pids("gcs") + alpha.pids("dashboard") == others
    wait(lambda: alpha.alive_nodes() == ["head"], "Ray knows one node")


@pytest.mark.parametrize("lost", ["cluster.json", "processes/gcs.json", "processes/raylet.json", "launch.json"])
def test_a_corrupt_journal_file_does_not_disturb_what_runs(alpha: Any, lost: str) -> None:
    before, ports = alpha.pids("gcs") + alpha.pids("dashboard") + alpha.pids("raylet"), alpha.journal.cluster().ports
    path = alpha.journal.directory / lost
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        assert alpha.observe().state.head.phase is NodePhase.RUNNING
        alpha.settle()
        assert alpha.pids("gcs") + alpha.pids("dashboard") + alpha.pids("raylet") == before
        assert alpha.journal.cluster().ports == ports
    finally:
        path.write_bytes(whole)
