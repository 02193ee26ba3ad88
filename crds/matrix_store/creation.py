"""How a state file comes into being: whole, under its name, in one step, whoever else is creating it at the same time."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from matrix_store import schema
from matrix_store.errors import Full
from matrix_store.faults import creation_error, translated

FILE_MODE = 0o600
"""SQLite gives its side files (-wal, -shm, -journal) the same mode."""


def create(path: Path, *, wal: bool) -> None:
    """Create an empty store, in WAL mode or with a rollback journal. One that has appeared meanwhile is left as it is.
    Raises Unavailable, Full."""
    try:
        with TemporaryDirectory(prefix=".new-", dir=path.parent, ignore_cleanup_errors=True) as directory:
            fresh = Path(directory) / path.name
            fresh.touch(FILE_MODE)
            _fill(fresh, wal=wal)
            _publish(fresh, path)
    except OSError as error:
        raise creation_error(error, path) from error
    except Full as error:
        raise Full(f"no room to create {path}: free some space on its disk (or quota)") from error


def _fill(fresh: Path, *, wal: bool) -> None:
    with translated(fresh):
        db = sqlite3.connect(fresh, isolation_level=None)
        try:
            if wal:  # kept in the file. Switched later, it would need every other process to let go
                db.execute("PRAGMA journal_mode = WAL")
            script = "".join(schema.MIGRATIONS)
            db.executescript(
                f"BEGIN; PRAGMA application_id={schema.APPLICATION_ID}; PRAGMA user_version={schema.VERSION}; {script} COMMIT;"
            )
        finally:
            db.close()


def _publish(fresh: Path, path: Path) -> None:
    try:
        os.link(fresh, path)  # unlike a rename it never replaces the one that another process has put there
    except FileExistsError:
        pass
    except PermissionError:  # how link(2) says that the file system has no hard links
        fresh.rename(path)
