"""The state directory, its file, and the controller."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from matrix_cli.doctor.findings import Finding, ok, problem, warning
from matrix_cli.plural import plural
from matrix_store.database import Database
from matrix_store.errors import StoreError
from matrix_store.filesystem import LOCAL_TYPES, file_system_type
from matrix_store.home import Home
from matrix_store.lock import Holder
from matrix_store.owner import Liveness

BUSY_SECONDS = 0.5
AHEAD_SECONDS = 60.0


def look(home: Home) -> Iterator[Finding]:
    """Nothing is created."""
    yield _directory(home.root)
    yield _file_system(home.root)
    if home.database.exists():
        yield from _store(home)
        yield judge_clock(home.database.stat().st_mtime, time.time())


def _directory(root: Path) -> Finding:
    if not root.exists():
        return ok("state directory", f"{root}, not made yet")
    found = root.stat()
    return judge_directory(root, found.st_mode, mine=found.st_uid == os.geteuid())


def judge_directory(root: Path, mode: int, *, mine: bool) -> Finding:
    if not stat.S_ISDIR(mode):
        return problem("state directory", f"{root} is not a directory", "move it away, or set MATRIX_HOME to another place")
    if not mine:
        return problem("state directory", f"{root} belongs to another user", "set MATRIX_HOME to a directory of your own")
    if mode & 0o077:
        return warning("state directory", f"{root} is open to others (mode {mode & 0o777:o})", f"it holds tokens: chmod 700 {root}")
    return ok("state directory", str(root))


def _file_system(root: Path) -> Finding:
    place = next(path for path in (root, *root.parents) if path.exists())
    try:
        return judge_file_system(file_system_type(place.resolve(), Path("/proc/self/mountinfo").read_text()))
    except OSError as error:
        return warning("file system", f"can't be found out: {error}", "make sure that it is a local disk")


def judge_file_system(kind: str) -> Finding:
    if kind in LOCAL_TYPES:
        return ok("file system", f"{kind}, local")
    return warning(
        "file system", f"{kind or 'unknown'}: a network file system, slower and locked less reliably", "set MATRIX_HOME to a local disk"
    )


def _store(home: Home) -> Iterator[Finding]:
    try:
        with closing(Database(home.database, busy_seconds=BUSY_SECONDS)) as database:
            database.check()
            clusters = len(database.objects.list("MatrixCluster"))
            count = clusters + len(database.objects.list("ModelDeployment"))
            holder = database.lock().holder()
    except StoreError as error:
        yield problem("state file", str(error), "nothing is known while it can't be read; see docs/faults.md")
        return
    yield ok("state file", f"{plural(count, 'object')}, no damage")
    yield judge_controller(holder, clusters, stopped=holder is not None and _is_stopped(holder))


def judge_controller(holder: Holder | None, clusters: int, *, stopped: bool) -> Finding:
    """`stopped`: its process is there and does not run (SIGSTOP)."""
    start = "start it with `matrix controller run --detach`"
    if holder is None or holder.liveness is Liveness.GONE:
        left = "" if holder is None else f"; the lock of process {holder.owner.pid}, which is gone, is taken over by the next"
        if clusters:
            return problem("controller", f"not running{left}: nothing heals or changes", start)
        return ok("controller", f"not running, nothing to do{left}")
    if holder.liveness is Liveness.ELSEWHERE:
        where = f"on host {holder.owner.host} (process {holder.owner.pid})"
        return warning("controller", f"runs {where}", "use Matrix there, or set MATRIX_HOME to another directory")
    if stopped:
        return problem("controller", f"{holder} is stopped", f"let it go on with `kill -CONT {holder.owner.pid}`")
    return ok("controller", f"runs ({holder})")


def _is_stopped(holder: Holder) -> bool:
    if holder.liveness is not Liveness.ALIVE:
        return False
    try:
        text = Path(f"/proc/{holder.owner.pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def judge_clock(written: float, now: float) -> Finding:
    """`written`: when the state file was written last. Nothing was written in the future."""
    if written - now > AHEAD_SECONDS:
        fact = f"behind the last write of the state file by {written - now:.0f} s"
        return warning("clock", fact, "set the clock; ages and retries are off until it has caught up")
    return ok("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))
