"""Following the state file: what has changed since the last look, in the order in which it changed."""

from __future__ import annotations

from dataclasses import dataclass

from matrix_crds.keys import ObjectKey
from matrix_store.connection import Connection
from matrix_store.objects import decode
from matrix_store.port import Change, ChangeType, StoredObject
from matrix_store.revision import current_revision
from matrix_store.tombstones import Tombstone, buried_since, pruned_to


@dataclass(frozen=True)
class Delta:
    """What lies between two looks, from one view of the file."""

    revision: int
    objects: tuple[StoredObject, ...]
    """The present state of those that changed, oldest change first."""
    tombstones: tuple[Tombstone, ...]
    complete: bool
    """`objects` is everything there is: what is known and not among them is gone."""


class Follower:
    """One watcher: knows what it has told, and says what is new. `poll` is all I/O there is; nothing here waits."""

    def __init__(self, connection: Connection, kinds: tuple[str, ...]) -> None:
        self._connection = connection
        self._kinds = kinds
        self._known: dict[ObjectKey, StoredObject] = {}
        self._revision = -1  # before everything: the first look is a complete one

    def poll(self) -> list[Change]:
        """The changes since the last call. The first reports everything, then Synced. Raises StoreErrors, and has told nothing then."""
        self._connection.verify()
        if current_revision(self._connection) == self._revision:
            return []
        first = self._revision < 0
        delta = read_delta(self._connection, self._kinds, self._revision)
        changes = changes_between(self._known, delta)
        self._revision = delta.revision
        _learn(self._known, changes)
        return [*changes, Change(ChangeType.SYNCED)] if first else changes


def read_delta(connection: Connection, kinds: tuple[str, ...], since: int) -> Delta:
    """What has happened to these kinds since a revision."""
    marks = ", ".join("?" * len(kinds))
    with connection.read():
        complete = since < pruned_to(connection)
        rows = connection.rows(
            f"SELECT raw FROM objects INDEXED BY objects_by_revision WHERE revision > ? AND kind IN ({marks}) ORDER BY revision",
            (-1 if complete else since, *kinds),
        )
        return Delta(
            revision=current_revision(connection),
            objects=tuple(decode(connection, row[0]) for row in rows),
            tombstones=() if complete else tuple(buried_since(connection, since)),
            complete=complete,
        )


def changes_between(known: dict[ObjectKey, StoredObject], delta: Delta) -> list[Change]:
    """What to tell one who knows `known`. Pure. Deleted is told only of what was known; an object that was replaced by another of
    the same name is Deleted, then Changed."""
    news = {stored.key: stored for stored in delta.objects}
    gone = {key for key in known if key not in news} if delta.complete else set()
    gone |= {stone.key for stone in delta.tombstones if stone.key in known and known[stone.key].uid == stone.uid}
    gone |= {key for key, stored in news.items() if key in known and known[key].uid != stored.uid}
    deleted = [Change(ChangeType.DELETED, key, known[key]) for key in sorted(gone)]
    changed = [Change(ChangeType.CHANGED, key, stored) for key, stored in news.items() if known.get(key) != stored]
    return deleted + changed


def _learn(known: dict[ObjectKey, StoredObject], changes: list[Change]) -> None:
    for change in changes:
        if change.key is not None and change.object is not None:
            if change.type is ChangeType.DELETED:
                known.pop(change.key, None)
            else:
                known[change.key] = change.object
