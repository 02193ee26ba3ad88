"""Former builds in the lab's cache. Each set of versions has a directory of its own, of some 400 MB, and nobody else would remove it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = "lock"
"""In each of them; its time says when somebody last asked for what is there."""
UNUSED_SECONDS = 14 * 24 * 3600.0
_OURS = re.compile(r"[0-9a-f]{16}")


def used(directory: Path) -> None:
    """Says that somebody wants what is in that directory."""
    (directory / LOCK).touch()


def prune(root: Path, clock: Callable[[], float] = time.time) -> list[str]:
    """Removes the directories that are builds by their names and their locks, which nobody has asked for in UNUSED_SECONDS and nobody
    builds in now. Their names. A program of one that still runs goes on: its file stays until it ends."""
    found = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and _OURS.fullmatch(path.name)]
    return [path.name for path in found if _is_old(path, clock) and _removed(path, clock)]


def _is_old(directory: Path, clock: Callable[[], float]) -> bool:
    lock = directory / LOCK
    return lock.is_file() and clock() - lock.stat().st_mtime > UNUSED_SECONDS


def _removed(directory: Path, clock: Callable[[], float]) -> bool:
    asked = (directory / LOCK).stat()
    lock = FileLock(directory / LOCK)  # which sets its time
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        if clock() - asked.st_mtime <= UNUSED_SECONDS:
            return False
        shutil.rmtree(directory)
        return True
    finally:
        lock.release()
