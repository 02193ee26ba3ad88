"""The gateway's own directory: HAProxy's configuration, maps and unix sockets. For its owner only.

It is locked as long as the gateway lives, and the kernel lets go of the lock however the gateway ends. So a directory that can be locked is
one that a killed gateway has left, whichever network (a pod's, say) its port was in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

LONGEST_DIRECTORY = 80
"""A unix socket's path has 108 bytes, and HAProxy binds it under a longer name first."""
_PREFIX = "mx-gateway-"


class OwnDirectory:
    """A new one. Raises OSError."""

    def __init__(self, port: int) -> None:
        self.path, self._lock = _locked(f"{_PREFIX}{port}-")

    def remove(self) -> None:
        """Nothing is left."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def clear_others(self) -> None:
        """Removes what killed gateways have left beside it; a living one's is locked."""
        for path in self.path.parent.glob(f"{_PREFIX}*"):
            if path != self.path:
                with contextlib.suppress(OSError):
                    _remove_unlocked(path)


def _locked(prefix: str) -> tuple[Path, int]:
    while True:
        path = _made(prefix)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path, lock
        os.close(lock)  # another gateway has found it between the two steps


def _made(prefix: str) -> Path:
    path = Path(tempfile.mkdtemp(prefix=prefix))
    if len(str(path)) > LONGEST_DIRECTORY:
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    return path


def _remove_unlocked(path: Path) -> None:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
