"""One SQLite connection to the state file: how it is opened, its transactions, and its faults as our errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from matrix_store import schema
from matrix_store.errors import Corrupt, Unavailable
from matrix_store.faults import corrupt, translated
from matrix_store.filesystem import is_local
from matrix_store.home import make_directory

BUSY_SECONDS = 5.0
"""How long a call waits for another process's transaction. Ours last milliseconds: whoever holds it longer is stuck."""

Row = tuple[Any, ...]


class Connection:
    """An open state file, for any number of threads: a transaction keeps the others out. Every method raises StoreErrors only."""

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS, local: Callable[[Path], bool] = is_local) -> None:
        """Open the file; create it, with its directory, when it is not there. `local`: whether a directory is on a local disk.
        Raises Unavailable, Busy, Full, Corrupt."""
        self.path = path
        self._mine = RLock()
        make_directory(path.parent)
        self._wal = local(path.parent)
        if not path.exists():
            from matrix_store.creation import create  # once in a lifetime; opening is on the way of every command

            create(path, wal=self._wal)
        _refuse_what_is_no_database(path)
        with translated(path):
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", busy_seconds, isolation_level=None, check_same_thread=False, uri=True
            )
            self._identity = _identity(path)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """All rows of a query."""
        with self._mine, translated(self.path):
            return self._db.execute(sql, values).fetchall()

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run a statement; the number of rows that it changed."""
        with self._mine, translated(self.path):
            return self._db.execute(sql, values).rowcount

    @contextmanager
    def read(self) -> Iterator[None]:
        """One view for all queries inside."""
        with self._transaction("BEGIN", "COMMIT"):
            yield

    @contextmanager
    def write(self, *, durable: bool, keep: bool = True) -> Iterator[None]:
        """All of what is written inside, or nothing: an exception, or `keep` False, takes it back. A kill -9 never loses what was
        written; `durable` says that a power cut must not either."""
        self.verify()
        with self._mine:
            self._synchronise(durable)
            with self._transaction("BEGIN IMMEDIATE", "COMMIT" if keep else "ROLLBACK"):
                yield

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        return _identity(self.path) == self._identity

    def verify(self) -> None:
        """Raises Corrupt when the file is not in its place any more: it would be written to for nobody."""
        if not self.in_place:
            raise Corrupt(f"{self.path} was removed or replaced while in use: end this process and start it again")

    def check(self) -> None:
        """Read the whole file for damage (some 5 ms for 1,000 objects). Raises Corrupt."""
        findings = [str(row[0]) for row in self.rows("PRAGMA quick_check(1)")]
        if findings != ["ok"]:
            raise corrupt(self.path, findings[0])

    def close(self) -> None:
        """Close it; harmless when it is closed already."""
        with self._mine, translated(self.path):
            self._db.close()

    @contextmanager
    def _transaction(self, begin: str, end: str) -> Iterator[None]:
        with self._mine, translated(self.path):
            self._db.execute(begin)
            try:
                yield
                self._db.execute(end)
            except BaseException:
                if self._db.in_transaction:  # SQLite takes some back by itself, a full disk among them
                    self._db.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        self._durable: bool | None = None
        self._refuse_foreign()
        self._db.execute(f"PRAGMA journal_mode = {'WAL' if self._wal else 'DELETE'}").fetchall()
        self._migrate()

    def _synchronise(self, durable: bool) -> None:
        # In WAL mode NORMAL never damages the file, and the disk is waited for only where a power cut must not take anything back.
        # A rollback journal needs the wait for the file's own sake; EXTRA also makes the end of the journal last.
        if durable != self._durable:
            level = "EXTRA" if not self._wal else "FULL" if durable else "NORMAL"
            self.execute(f"PRAGMA synchronous = {level}")
            self._durable = durable

    def _refuse_foreign(self) -> None:
        if self._pragma("application_id") != schema.APPLICATION_ID:
            raise Corrupt(f"{self.path} is an SQLite file, but not one of Matrix: move it away, or set MATRIX_HOME to another place")
        version = self._pragma("user_version")
        if version > schema.VERSION:
            raise Unavailable(
                f"{self.path} was written by a newer Matrix (schema {version}, this one knows {schema.VERSION}): upgrade this one"
            )

    def _migrate(self) -> None:
        if self._pragma("user_version") == schema.VERSION:
            return
        with self.write(durable=True):
            for script in schema.MIGRATIONS[self._pragma("user_version") :]:
                for statement in schema.statements(script):
                    self.execute(statement)
            self.execute(f"PRAGMA user_version = {schema.VERSION}")

    def _pragma(self, name: str) -> int:
        return int(self.rows(f"PRAGMA {name}")[0][0])


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(path)  # noqa: PTH116 (on every poll; several times as fast as Path.stat)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _refuse_what_is_no_database(path: Path) -> None:
    if not path.is_file():
        raise Unavailable(f"{path} is not a file: move it away, or set MATRIX_HOME to another place")
    if path.stat().st_size == 0:
        # SQLite takes an empty file for a new database; here a new one is never empty (creation.py), so it has been emptied.
        raise corrupt(path, "the file is empty")
