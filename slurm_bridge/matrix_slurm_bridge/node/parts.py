"""Ray's processes on a node, as the program that looks after them sees them. Ray itself is not imported here: it would cost the program
150 MB for the life of the job."""

from __future__ import annotations

import os
import re
import resource
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix_store.process_identity import ProcessIdentity, identify

GCS, DASHBOARD, RAYLET = "GCS", "dashboard", "raylet"
OPEN_FILES = 65_536
"""A replica with thousands of connections needs more than the usual soft limit of 1024."""
_TAIL_BYTES = 64 * 1024
_ERROR = re.compile(r"\[[^]]* [EC] \d+ \d+\]|\w+(\.\w+)*(Error|Exception): ")
"""How Ray's servers and Python begin such a line."""
_FRAME = re.compile(r"\(\+0x[0-9a-f]+\)|\[0x[0-9a-f]+\]|^\*{3} |^\s+File \"")
_BOILERPLATE = re.compile(r" An unexpected system state has occurred\..* fix it\.")
_NODE_ID_BYTES = 28  # ray.NodeID.size()
_NODE_ID = re.compile(r"^--node_id=([0-9a-f]+)$")
_SESSION = re.compile(r"^--session_dir=(.+)$")
_SOCKET = re.compile(r"^--(?:raylet|store)_socket_name=(.+)$")


@dataclass(frozen=True)
class Part:
    """A process of Ray's that has been started."""

    name: str
    argv: tuple[str, ...]
    process: ProcessIdentity | None
    """None: it had ended before it could be looked at."""

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive()


def spawn(argv: Sequence[str], environment: Mapping[str, str], directory: Path) -> subprocess.Popen[bytes]:
    """Start a process that leads a session of its own, so that no signal meant for the job's script reaches it. Raises OSError."""
    child = subprocess.Popen(
        argv,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    raise_open_files(child.pid)
    return child


def raise_open_files(pid: int) -> None:
    """As far as the hard limit lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    except (ProcessLookupError, PermissionError):
        return


def started(name: str, argv: Sequence[str], pid: int) -> Part:
    return Part(name, tuple(argv), identify(pid))


def prepared_again(argv: Sequence[str]) -> tuple[str, ...]:
    """The argv for another life: the GCS does not take a dead raylet's id again, which occurs in the commands of its agents too, and its
    old sockets must go. The files with its agents' ports are there for the new id as well (see ray_start.py)."""
    for argument in argv:
        if found := _SOCKET.match(argument):
            Path(found[1]).unlink(missing_ok=True)
    old = node_id(argv)
    if old is None:
        return tuple(argv)
    fresh = secrets.token_hex(_NODE_ID_BYTES)
    for directory in (found[1] for argument in argv if (found := _SESSION.match(argument))):
        for file in Path(directory).glob(f"*_port_{old}"):
            shutil.copy(file, file.with_name(file.name.replace(old, fresh)))
    return tuple(argument.replace(old, fresh) for argument in argv)


def node_id(argv: Sequence[str]) -> str | None:
    """Of a raylet."""
    return next((found[1] for argument in argv if (found := _NODE_ID.match(argument))), None)


def last_words(argv: Sequence[str], lines: int = 5) -> str:
    """The last lines that a part wrote, joined by ` | `; its argv names its files, and the dashboard's own log lies beside them."""
    split = (argument.partition("=") for argument in argv if argument.startswith("--std"))
    options = {name.removeprefix("--").replace("-", "_"): Path(value) for name, _, value in split}
    files = [options[name] for name in ("stderr_filepath", "stdout_filepath") if name in options]
    files += [file.with_suffix(".log") for file in files[-1:]]
    return next((words for file in files if (words := tail(file, lines))), "it wrote nothing")


def tail(path: Path, lines: int = 5) -> str:
    """The last lines of a file, joined by ` | `: those that Ray calls an error if there are some, and no stack trace; empty if it can't be
    read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    told = [_BOILERPLATE.sub("", line.strip())[:300] for line in text.splitlines() if line.strip() and not _FRAME.search(line)]
    return " | ".join(([line for line in told if _ERROR.match(line)] or told)[-lines:])
