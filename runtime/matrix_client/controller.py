"""The controller process of a state directory: is it there, start it detached, end it.

It is found by its lock, never by name; started in a session of its own, so that it outlives the terminal; and ends by itself
when nothing is left to manage.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from matrix_client.errors import ControllerFailed

if TYPE_CHECKING:
    from matrix_store.home import Home
    from matrix_store.lock import Holder

START_SECONDS = 45.0
"""Includes the time that a controller takes to see that the lock's holder on another host is dead."""
STOP_SECONDS = 30.0
BEAT_SECONDS = 8.0
"""A holder whose counter stands still for so long (heartbeats are every 3 s) does not work."""
POLL_SECONDS = 0.05
LOG_BYTES = 10_000_000
"""A log that is larger is put aside (`.1`) when the controller starts."""
SHOWN_LINES = 15
NOT_INHERITED = ("MATRIX_CLUSTER_UID",)
"""Marks a cluster's own processes: a controller started from inside one is not one of them."""


def controller_command(home: Home) -> list[str]:
    """How the controller of a state directory is started."""
    return [sys.executable, "-m", "matrix_cli.controller_process", "--home", str(home.root)]


def controller_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The controller's environment: the caller's, without what marks a process as a cluster's."""
    return {name: value for name, value in environ.items() if name not in NOT_INHERITED}


def holder(home: Home) -> Holder | None:
    """Who holds the controller's lock; None if nobody, or a process that is gone. Raises StoreError."""
    from matrix_store.database import Database
    from matrix_store.owner import Liveness

    if not home.database.exists():
        return None
    with closing(Database(home.database)) as database:
        found = database.lock().holder()
    return None if found is None or found.liveness is Liveness.GONE else found


async def is_beating(home: Home, seconds: float = BEAT_SECONDS) -> bool:
    """Whether the holder's heartbeat counter moves; looks for up to `seconds`."""
    first = await asyncio.to_thread(holder, home)
    return first is not None and await _until(lambda: _beats(holder(home)) != _beats(first), seconds, poll=0.25)


async def is_running(home: Home) -> bool:
    """Whether a controller is at work: its process is there, or on another host its heartbeat is."""
    from matrix_store.owner import Liveness

    found = await asyncio.to_thread(holder, home)
    return found is not None and (found.liveness is Liveness.ALIVE or await is_beating(home))


async def refuse_elsewhere(home: Home) -> None:
    """Raises ControllerFailed when another host's controller is at work: what it starts runs there, and can't be reached from here."""
    from matrix_store.owner import Liveness

    found = await asyncio.to_thread(holder, home)
    if found is not None and found.liveness is Liveness.ELSEWHERE and await is_beating(home):
        host = found.owner.host
        raise ControllerFailed(
            f"{home.root} is in use by the controller on host {host} (process {found.owner.pid}): use Matrix there, end it there with"
            " `matrix controller stop`, or set MATRIX_HOME to another directory"
        )


async def ensure_running(home: Home, command: Sequence[str] | None = None, timeout: float = START_SECONDS) -> None:
    """Return when a controller holds the lock; start one if none does. Raises ControllerFailed with the last lines of its log."""
    from matrix_store.owner import Liveness

    if await is_running(home):
        return
    home.create()
    process = _start(home, command or controller_command(home))

    def is_up() -> bool:
        found = holder(home)
        return found is not None and found.liveness is Liveness.ALIVE

    await _until(lambda: is_up() or process.poll() is not None, timeout)
    if is_up():
        return
    if process.poll() is None:
        process.terminate()
        raise _failed(home, f"the controller was not up within {timeout:g} s")
    raise _failed(home, f"the controller ended at once (exit code {process.returncode})")


async def stop(home: Home, timeout: float = STOP_SECONDS) -> bool:
    """End the controller and wait until its lock is free; models go on serving. False if none runs. Raises ControllerFailed."""
    from matrix_store.owner import Liveness

    held = await asyncio.to_thread(holder, home)
    if held is None:
        return False
    if held.liveness is not Liveness.ALIVE:
        raise ControllerFailed(f"the controller is {held}; end it there with `matrix controller stop`")
    _terminate(held.owner.pid)
    if not await _until(lambda: _token(holder(home)) != held.token, timeout):
        raise ControllerFailed(f"the controller ({held}) is still there after {timeout:g} s; end it with `kill -9 {held.owner.pid}`")
    return True


def log_tail(path: Path, lines: int = SHOWN_LINES) -> tuple[str, ...]:
    """The last lines of a log, () if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64_000))
            return tuple(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ()


async def _until(holds: Callable[[], bool], seconds: float, poll: float = POLL_SECONDS) -> bool:
    """Wait until `holds()`, looked at in a thread; False after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(poll)
    return True


def _beats(held: Holder | None) -> tuple[str, int] | None:
    return (held.token, held.beats) if held else None


def _token(held: Holder | None) -> str | None:
    return held.token if held else None


def _start(home: Home, command: Sequence[str]) -> subprocess.Popen[bytes]:
    _rotate(home.controller_log)
    with home.controller_log.open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=controller_environ(os.environ), cwd="/", start_new_session=True
        )


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def _failed(home: Home, what: str) -> ControllerFailed:
    return ControllerFailed(f"{what}; its log is {home.controller_log}", log_tail(home.controller_log))


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise ControllerFailed(f"the controller (process {pid}) belongs to another user; ask them to end it") from error
