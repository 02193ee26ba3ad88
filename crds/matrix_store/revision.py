"""The one counter behind every resourceVersion."""

from __future__ import annotations

from matrix_store.connection import Connection


def current_revision(connection: Connection) -> int:
    """The last one given."""
    return int(connection.rows("SELECT value FROM revision")[0][0])


def next_revision(connection: Connection) -> int:
    """A new one; within the caller's transaction."""
    connection.execute("UPDATE revision SET value = value + 1")
    return current_revision(connection)
