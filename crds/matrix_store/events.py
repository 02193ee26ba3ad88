"""What happened to objects, counted rather than repeated, and kept for a while after the object is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from matrix_crds.keys import ObjectKey
from matrix_store.connection import Connection
from matrix_store.port import Event, EventType

KEPT_FOR = timedelta(days=7)
KEPT_PER_OBJECT = 100
"""So that one object that fails in ever new words does not push out what is known of the others."""
KEPT = 10_000

_COLUMNS = "kind, namespace, name, uid, type, reason, message, first, last, count"


class Events:
    """The synchronous half of the port's events."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def record(self, event: Event) -> None:
        """Store an event, or count it to the one that says the same."""
        # Messages quote the logs of others, which hold anything: SQLite takes what is valid UTF-8.
        event = replace(event, message=event.message.encode(errors="replace").decode())
        with self._connection.write(durable=False):
            if not self._count(event):
                self._insert(event)
                self._prune(event)

    def list(self, key: ObjectKey | None = None) -> Sequence[Event]:
        """Oldest first (by when it last happened); of one object or of all."""
        where, values = ("", ()) if key is None else ("WHERE kind = ? AND namespace = ? AND name = ?", tuple(key))
        return [_event(*row) for row in self._connection.rows(f"SELECT {_COLUMNS} FROM events {where} ORDER BY last, id", values)]

    def _count(self, event: Event) -> int:
        return self._connection.execute(
            "UPDATE events SET count = count + ?, first = min(first, ?), last = max(last, ?)"
            " WHERE uid = ? AND type = ? AND reason = ? AND message = ?",
            (event.count, _text(event.first), _text(event.last), event.uid, event.type, event.reason, event.message),
        )

    def _insert(self, event: Event) -> None:
        said = (event.type.value, event.reason, event.message)
        values = (*event.key, event.uid, *said, _text(event.first), _text(event.last), event.count)
        self._connection.execute(f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _prune(self, newest: Event) -> None:
        self._connection.execute("DELETE FROM events WHERE last < ?", (_text(newest.last - KEPT_FOR),))
        self._drop_all_but(KEPT_PER_OBJECT, "WHERE uid = ?", (newest.uid,))
        self._drop_all_but(KEPT, "", ())

    def _drop_all_but(self, kept: int, where: str, values: tuple[str, ...]) -> None:
        excess = f"SELECT id FROM events {where} ORDER BY last DESC, id DESC LIMIT -1 OFFSET {kept}"
        self._connection.execute(f"DELETE FROM events WHERE id IN ({excess})", values)


def _event(
    kind: str, namespace: str, name: str, uid: str, type_: str, reason: str, message: str, first: str, last: str, count: int
) -> Event:
    key = ObjectKey(kind, namespace, name)
    return Event(key, uid, EventType(type_), reason, message, datetime.fromisoformat(first), datetime.fromisoformat(last), count)


def _text(time: datetime) -> str:
    """UTC, all of the same length, so that the order of the texts is that of the times."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")
