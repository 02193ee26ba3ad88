"""The controller process: started when needed, found by its lock, ended by its pid. Real processes; the controller does nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from matrix_client import controller
from matrix_client.errors import ControllerFailed
from tests.lab.api import wait_for
from tests.unit.client.worlds import World, controller_command, new_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = new_world(tmp_path)
    yield world
    asyncio.run(controller.stop(world.home))


def start(world: World, command: list[str] | None = None, seconds: float = 60) -> None:
    asyncio.run(controller.ensure_running(world.home, command or controller_command(world.home), seconds))


def test_it_is_started_in_a_session_of_its_own_and_holds_the_lock(world: World) -> None:
    start(world)

    held = controller.holder(world.home)
    assert held is not None
    assert held.details["session"] == held.owner.pid != os.getsid(0)


def test_it_does_not_inherit_what_marks_the_processes_of_a_cluster(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_CLUSTER_UID", "of-another")
    start(world)

    held = controller.holder(world.home)
    assert held is not None and held.details["marked"] is False


def test_one_that_runs_is_used(world: World) -> None:
    start(world)
    first = controller.holder(world.home)
    start(world, ["/does/not/exist"])

    assert first is not None
    second = controller.holder(world.home)
    assert second is not None and second.owner == first.owner


def test_two_that_start_at_once_end_in_one(world: World) -> None:
    async def both() -> None:
        command = controller_command(world.home)
        await asyncio.gather(controller.ensure_running(world.home, command), controller.ensure_running(world.home, command))

    asyncio.run(both())
    assert controller.holder(world.home) is not None
    wait_for(lambda: len(controllers(world)) == 1, "the slower one has ended", 30)


def controllers(world: World) -> list[int]:
    """Those of that home that this process has started and that live."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if str(world.home.database) in child.cmdline():
                found.append(child.pid)
    return found


def test_one_that_dies_is_an_error_with_the_last_lines_of_its_log(world: World) -> None:
    dies = [sys.executable, "-c", "import sys; print('half way', file=sys.stderr); sys.exit('no psutil')"]

    with pytest.raises(ControllerFailed, match=r"ended at once \(exit code 1\); its log is .*controller\.log") as caught:
        start(world, dies)

    assert caught.value.lines == ("half way", "no psutil")


def test_one_that_does_not_come_up_is_ended_and_an_error(world: World) -> None:
    with pytest.raises(ControllerFailed, match=r"not up within 0.5 s"):
        start(world, [sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.5)


def test_a_large_log_is_put_aside(world: World) -> None:
    world.home.controller_log.write_bytes(b"x" * (controller.LOG_BYTES + 1))
    start(world)

    assert world.home.controller_log.stat().st_size < 1000
    assert world.home.controller_log.with_name("controller.log.1").stat().st_size > controller.LOG_BYTES


def test_stop_returns_when_the_lock_is_free(world: World) -> None:
    start(world)

    assert asyncio.run(controller.stop(world.home)) is True
    assert controller.holder(world.home) is None
    assert asyncio.run(controller.stop(world.home)) is False


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    from matrix_store.home import Home

    assert controller.holder(Home(tmp_path / "nothing")) is None
    assert not (tmp_path / "nothing").exists()


def test_the_heartbeat_tells_a_living_controller_from_a_frozen_one(world: World) -> None:
    start(world)
    held = controller.holder(world.home)
    assert held is not None
    assert asyncio.run(controller.is_beating(world.home, 20))
    os.kill(held.owner.pid, signal.SIGSTOP)
    try:
        assert not asyncio.run(controller.is_beating(world.home, 0.5))
    finally:
        os.kill(held.owner.pid, signal.SIGCONT)
