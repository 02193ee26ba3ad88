"""Starting processes that outlive this one: each leads a session of its own, so that no signal meant for us reaches it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


def spawn(
    argv: Sequence[str], environment: Mapping[str, str], directory: Path, output: IO[bytes] | int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a process in `directory`; from then on it is found by what is in `environment`. Raises OSError."""
    return subprocess.Popen(
        argv, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


class Children:
    """Those started here, to be reaped when they end: their zombies would stay as long as this process."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def add(self, child: subprocess.Popen[bytes]) -> None:
        self._running.append(child)

    def reap(self) -> None:
        self._running = [child for child in self._running if child.poll() is None]
