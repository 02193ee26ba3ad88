"""A cluster, another one and a Ray of somebody else on the same machine."""

from __future__ import annotations

import shutil
import stat
from contextlib import suppress
from functools import partial
from typing import Any

import psutil
import pytest

from matrix_operator.backends.local.backend import LocalBackend
from matrix_operator.backends.local.logs import log_files
from matrix_operator.backends.local.orphans import Orphan, end_orphan, find_orphans
from matrix_operator.backends.local.places import temporary_directory
from matrix_operator.looks import Absent
from matrix_store.home import Home

pytestmark = pytest.mark.timeout(900)  # starts of Ray's parts, on a machine that may be busy


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def shown(driver: Any) -> list[tuple[int, list[str], dict[str, str]]]:
    """Pid, arguments and environment of the cluster's processes, but for those that have just ended: Ray ends workers as it likes."""
    found = []
    for pid in driver.pids():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            argv, environ = process.cmdline(), process.environ()
            if argv:
                found.append((pid, argv, environ))
    return found


def test_a_cluster_listens_on_loopback_only(alpha: Any) -> None:
    """Serve's replicas aside: each opens a port on all interfaces, behind Ray's token (ray/serve/_private/replica.py)."""
    pids = {pid for pid, argv, _ in shown(alpha) if not argv[0].startswith("ray::ServeReplica")}
    listening = [c.laddr.ip for c in psutil.net_connections("tcp") if c.pid in pids and c.status == psutil.CONN_LISTEN]
    assert len(listening) > 3
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_tokens_are_private_files_and_nowhere_else(alpha: Any) -> None:
    address = alpha.address()
    assert alpha.rest("/api/version")["ray_version"]
    for name in ("ray-token", "client-token"):
        assert stat.S_IMODE((alpha.journal.secrets / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(alpha.journal.secrets.stat().st_mode) == 0o700
    seen = shown(alpha)
    assert {pid for part in ("gcs", "raylet", "dashboard") for pid in alpha.pids(part)} <= {pid for pid, _, _ in seen}
    for _, argv, environ in seen:
        text = " ".join(argv) + str(environ)
        assert address.ray_token not in text and address.client_token not in text
    assert "token" not in repr(address)


def test_every_process_of_the_cluster_carries_the_marker(alpha: Any, wait: Any) -> None:
    """Also those that give themselves another title, which could overwrite it."""
    (raylet,) = alpha.pids("raylet")
    children = wait(lambda: psutil.Process(raylet).children(recursive=True), "children of the raylet")
    marked = set(alpha.pids())
    assert {child.pid for child in children if lives(child)} <= marked
    assert any(child.pid in marked for child in children)


def test_logs_of_each_part_are_found(alpha: Any) -> None:
    assert {"launcher", "gcs", "dashboard", "raylet"} <= log_files(alpha.home, alpha.uid).keys()


def test_another_controller_process_adopts_what_runs(alpha: Any) -> None:
    before = alpha.pids("gcs") + alpha.pids("dashboard") + alpha.pids("raylet")
    alpha.backend = LocalBackend(alpha.home)
    alpha.settle()
    assert alpha.pids("gcs") + alpha.pids("dashboard") + alpha.pids("raylet") == before


def find_orphan(uid: str) -> Orphan:
    (found,) = [orphan for orphan in find_orphans() if orphan.uid == uid]
    return found


def test_two_clusters_and_a_foreign_ray_do_not_disturb_each_other_and_an_orphan_is_found_and_ended(
    alpha: Any, make: Any, wait: Any, foreign_ray: Any
) -> None:
    beta = make("beta")
    beta.up()
    assert len(set(beta.journal.cluster().ports.model_dump().values()) | set(alpha.journal.cluster().ports.model_dump().values())) == 10
    assert alpha.uid not in {orphan.uid for orphan in find_orphans()}
    before = alpha.pids("gcs") + alpha.pids("dashboard") + alpha.pids("raylet")

    assert not end_orphan(beta.uid), "a cluster that has a record is no orphan"
    shutil.rmtree(beta.journal.directory)
    look = partial(find_orphan, beta.uid)
    assert look().home == Home(alpha.home.root).root.as_posix()
    wait(lambda: tuple(beta.pids()) == look().pids, "two looks are the same")  # Ray starts and ends workers meanwhile
    assert end_orphan(beta.uid)

    assert beta.pids() == [] and not temporary_directory(beta.uid).exists()
    assert isinstance(beta.observe(), Absent)
    assert alpha.pids("gcs") + alpha.pids("dashboard") + alpha.pids("raylet") == before
    assert foreign_ray.main_pids() == foreign_ray.started and len(foreign_ray.started) == 3
