"""What SQLite says, as our errors: one line that names the file and what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matrix_store.errors import Busy, Corrupt, Full, Unavailable

_LITTLE_SPACE = 1 << 16
"""Bytes: SQLite's shared memory file alone takes 32 kB. With less than this an unexplained error is put down to the full disk."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise a StoreError in place of a sqlite3.Error that is raised inside."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error


def store_error(error: sqlite3.Error, path: Path) -> Unavailable:
    """The StoreError that says what SQLite said (result codes: sqlite.org/rescode.html)."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Busy(f"{path} is held by another process: try again, or see who holds it with `fuser {path}`")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return corrupt(path, str(error))
    if name == "SQLITE_FULL" or (name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and _disk_is_full(path)):
        return Full(f"no room to write {path}: free some space on its disk (or quota)")
    if name.startswith("SQLITE_READONLY") or _disk_is_read_only(path):
        return Unavailable(
            f"{path} can't be written to: check its owner and mode, those of its directory, and that its disk is not read-only"
        )
    if name.startswith("SQLITE_CANTOPEN"):
        return Unavailable(f"{path} can't be opened: check that it is a file of yours and that its directory can be written to")
    return Unavailable(f"{path} can't be used ({name or type(error).__name__}: {error}): check the disk it is on")


def creation_error(error: OSError, path: Path) -> Unavailable:
    """The StoreError for a file or directory that could not be made."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Full(f"no room to create {path}: free some space on its disk (or quota)")
    return Unavailable(
        f"{path} can't be created ({error.strerror}): check the owner and mode of {path.parent}, or set MATRIX_HOME to another place"
    )


def corrupt(path: Path, what: str) -> Corrupt:
    """A damaged file. It is left as it is: what can be saved from it is the user's to decide."""
    told = " ".join(what.split())  # PRAGMA quick_check answers in several lines
    return Corrupt(f"{path} is damaged ({told}): move it away and apply your manifests again, or put a copy of it back")


def _disk_is_full(path: Path) -> bool:
    try:
        state = os.statvfs(path.parent)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < _LITTLE_SPACE


def _disk_is_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False
