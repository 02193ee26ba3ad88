"""What was removed, and at which revision: how a watcher hears of it. The oldest are pruned; `pruned_to` says how far."""

from __future__ import annotations

from dataclasses import dataclass

from matrix_crds.keys import ObjectKey
from matrix_store.connection import Connection
from matrix_store.port import StoredObject

KEPT = 1000
"""A watcher that has missed more than these compares everything instead."""


@dataclass(frozen=True)
class Tombstone:
    revision: int
    key: ObjectKey
    uid: str


def bury(connection: Connection, removed: StoredObject, revision: int) -> None:
    """Note that an object was removed; within the caller's transaction."""
    connection.execute("INSERT INTO tombstones VALUES (?, ?, ?, ?, ?)", (revision, *removed.key, removed.uid))
    excess = connection.rows(f"SELECT revision FROM tombstones ORDER BY revision DESC LIMIT 1 OFFSET {KEPT}")
    for (last,) in excess:
        connection.execute("DELETE FROM tombstones WHERE revision <= ?", (last,))
        connection.execute("UPDATE revision SET pruned = ?", (last,))


def buried_since(connection: Connection, revision: int) -> list[Tombstone]:
    """What was removed after a revision, oldest first."""
    rows = connection.rows("SELECT revision, kind, namespace, name, uid FROM tombstones WHERE revision > ? ORDER BY revision", (revision,))
    return [Tombstone(at, ObjectKey(kind, namespace, name), uid) for at, kind, namespace, name, uid in rows]


def pruned_to(connection: Connection) -> int:
    """The revision up to which tombstones are gone: one who has seen less can't rely on them."""
    return int(connection.rows("SELECT pruned FROM revision")[0][0])
