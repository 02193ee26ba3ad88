"""The agent's journal: one SQLite file in the site's shared directory, beside the lock that lets one agent write it.

It holds what is wanted, so that clusters are kept alive while the hub is away, and each job before it is submitted, so that a submission
whose answer was lost is looked for and not made again. Secrets are not in it, only their digests.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from matrix_slurm_bridge.agent.errors import ForeignHub, Unusable
from matrix_slurm_bridge.agent.model import Cluster, Entry, Phase
from matrix_slurm_bridge.slurm.names import JobTag

FILE = "journal.db"
VERSION = 1
APPLICATION_ID = 0x4D587362
"""SQLite's own field for whose file it is ("MXsb")."""
BUSY_SECONDS = 5.0

_TABLES = (
    """CREATE TABLE clusters (
      uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, phase TEXT NOT NULL,
      attempt INTEGER NOT NULL, spec TEXT NOT NULL, template TEXT NOT NULL, digests TEXT NOT NULL)""",
    """CREATE TABLE entries (
      uid TEXT NOT NULL, role TEXT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL, serial INTEGER NOT NULL,
      intended_at TEXT NOT NULL, job_id TEXT NOT NULL, cancelled INTEGER NOT NULL, ended_at TEXT, ending TEXT NOT NULL,
      ran_seconds REAL NOT NULL, refused INTEGER NOT NULL,
      PRIMARY KEY (uid, role, number, attempt, serial))""",
    "CREATE TABLE hub (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL)",
)


class Journal:
    """Of one site. For any number of threads; every method raises Unusable."""

    def __init__(self, path: Path) -> None:
        """Open it, make it where it is missing. A rollback journal: WAL needs memory that login nodes do not share."""
        self._path = path
        self._mine = Lock()
        with self._translated():
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = DELETE").fetchall()
            self._db.execute("PRAGMA synchronous = EXTRA")
            self._prepare()

    def clusters(self) -> list[Cluster]:
        """All that are wanted, or are being removed."""
        with self._mine, self._translated():
            rows = self._db.execute("SELECT * FROM clusters ORDER BY uid").fetchall()
        return [_cluster(row) for row in rows]

    def entries(self) -> list[Entry]:
        """All jobs of them, the oldest first."""
        with self._mine, self._translated():
            rows = self._db.execute("SELECT * FROM entries ORDER BY uid, role, number, attempt, serial").fetchall()
        return [_entry(row) for row in rows]

    def put_cluster(self, cluster: Cluster) -> None:
        """Insert or replace."""
        row = (cluster.uid, cluster.namespace, cluster.name, cluster.generation, cluster.phase.value)
        rest = (cluster.attempt, cluster.spec, cluster.template, json.dumps(dict(cluster.digests)))
        with self._write():
            self._db.execute("INSERT OR REPLACE INTO clusters VALUES (?,?,?,?,?,?,?,?,?)", (*row, *rest))

    def put_entries(self, entries: list[Entry]) -> None:
        """Insert or replace, all or none."""
        with self._write():
            self._db.executemany("INSERT OR REPLACE INTO entries VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", map(_row, entries))

    def drop_cluster(self, uid: str) -> None:
        """Nothing of it is left."""
        with self._write():
            self._db.execute("DELETE FROM entries WHERE uid = ?", (uid,))
            self._db.execute("DELETE FROM clusters WHERE uid = ?", (uid,))

    def drop_entries(self, entries: list[Entry]) -> None:
        """Those of former attempts are of no use any more."""
        with self._write():
            for entry in entries:
                keys = (entry.tag.uid, entry.tag.role, entry.tag.index, entry.tag.attempt, entry.tag.serial)
                self._db.execute("DELETE FROM entries WHERE uid=? AND role=? AND number=? AND attempt=? AND serial=?", keys)

    def hub_id(self) -> str:
        """Of the hub that the site belongs to; empty before the first contact."""
        with self._mine, self._translated():
            row = self._db.execute("SELECT id FROM hub").fetchone()
        return str(row[0]) if row else ""

    def bind(self, hub_id: str) -> None:
        """From now on the site belongs to that hub. Raises ForeignHub when it belongs to another one."""
        bound = self.hub_id()
        if bound and bound != hub_id:
            raise ForeignHub(
                f"this site belongs to the hub {bound}, and {hub_id} has answered; end the clusters of the old one first,"
                " then `matrix bridge unbind`"
            )
        with self._write():
            self._db.execute("INSERT OR REPLACE INTO hub VALUES (1, ?)", (hub_id,))

    def unbind(self) -> None:
        """The next hub that answers may have the site."""
        with self._write():
            self._db.execute("DELETE FROM hub")

    def close(self) -> None:
        with self._mine:
            self._db.close()

    @contextmanager
    def _write(self) -> Iterator[None]:
        with self._mine, self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite takes some back by itself, a full disk among them
                    self._db.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            self._db.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                self._db.execute(table)
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.execute("COMMIT")
        elif version > VERSION:
            raise Unusable(f"{self._path} was written by a newer Matrix: upgrade this one")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            advice = "check its owner, its disk's free space and that it is not mounted read-only"
            raise Unusable(f"the journal {self._path} can't be used ({error}): {advice}") from error


def _cluster(row: tuple[Any, ...]) -> Cluster:
    uid, namespace, name, generation, phase, attempt, spec, template, digests = row
    return Cluster(uid, namespace, name, generation, Phase(phase), attempt, spec, template, json.loads(digests))


def _row(entry: Entry) -> tuple[object, ...]:
    tag = entry.tag
    ended_at = entry.ended_at.isoformat() if entry.ended_at else None
    key = (tag.uid, tag.role, tag.index, tag.attempt, tag.serial)
    return (*key, entry.intended_at.isoformat(), entry.job_id, entry.cancelled, ended_at, entry.ending, entry.ran_seconds, entry.refused)


def _entry(row: tuple[Any, ...]) -> Entry:
    intended_at, job_id, cancelled, ended_at, ending, ran, refused = row[5:]
    return Entry(
        tag=JobTag(*row[:5]),
        intended_at=datetime.fromisoformat(intended_at),
        job_id=job_id,
        cancelled=bool(cancelled),
        ended_at=datetime.fromisoformat(ended_at) if ended_at else None,
        ending=ending,
        ran_seconds=ran,
        refused=bool(refused),
    )
