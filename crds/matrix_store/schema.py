"""The tables, and how an older file becomes a newer one."""

from __future__ import annotations

APPLICATION_ID = 0x4D587374
"""SQLite's own field for whose file it is ("MXst")."""

# `revision.value` is the last resourceVersion given; tombstones up to `revision.pruned` are no longer there.
# Nothing newer than SQLite 3.24 (upsert) is used: Python may be built with an old one.
_VERSION_1 = """
CREATE TABLE revision (value INTEGER NOT NULL, pruned INTEGER NOT NULL);
INSERT INTO revision VALUES (0, 0);

CREATE TABLE objects (
  kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  uid TEXT NOT NULL, revision INTEGER NOT NULL, raw TEXT NOT NULL,
  PRIMARY KEY (kind, namespace, name)
);
CREATE INDEX objects_by_revision ON objects (revision);

CREATE TABLE tombstones (
  revision INTEGER PRIMARY KEY,
  kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL
);

CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL,
  type TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
  first TEXT NOT NULL, last TEXT NOT NULL, count INTEGER NOT NULL,
  UNIQUE (uid, type, reason, message)
);
CREATE INDEX events_by_time ON events (last);

CREATE TABLE controller (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  token TEXT NOT NULL, owner TEXT NOT NULL, details TEXT NOT NULL, beats INTEGER NOT NULL
);
"""

MIGRATIONS = (_VERSION_1,)
"""MIGRATIONS[n] brings version n to n + 1. A released one never changes."""

VERSION = len(MIGRATIONS)


def statements(script: str) -> list[str]:
    """The single statements of a script: sqlite3's executescript would commit the transaction it runs in."""
    return [statement for statement in script.split(";") if statement.strip()]
