"""Starting processes that outlive this one: each leads a session of its own, so that no signal meant for us reaches it."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

OPEN_FILES = 65_536
"""A replica with thousands of connections needs more than the usual soft limit of 1024."""


def spawn(
    argv: Sequence[str], environment: Mapping[str, str], directory: Path, output: IO[bytes] | int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a process in `directory`; from then on it is found by what is in `environment`. Raises OSError."""
    child = subprocess.Popen(
        argv, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    with suppress(ProcessLookupError):
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return child


class Children:
    """Those started here, to be reaped when they end: their zombies would stay as long as this process."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()

    def add(self, child: subprocess.Popen[bytes]) -> None:
        self._running.add(child)

    def reap(self) -> None:
        """Threads may do this at the same time."""
        self._running.difference_update([child for child in tuple(self._running) if child.poll() is not None])
