"""Events are bounded in number and age, and take any text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from matrix_store import events as limits
from matrix_store.database import Database
from matrix_store.port import Event, EventType
from tests.unit.store.support import key, open_database

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "matrix.db")
    yield database
    database.close()


def event(message: str, at: datetime = START, *, uid: str = "u1", name: str = "one") -> Event:
    return Event(key(name), uid, EventType.NORMAL, "Reason", message, at, at)


def test_one_object_s_many_words_do_not_push_out_the_others(database: Database) -> None:
    database.events.record(event("quiet", uid="u2", name="two"))
    for number in range(limits.KEPT_PER_OBJECT + 20):
        database.events.record(event(f"word {number}", START + timedelta(seconds=number)))
    kept = [e.message for e in database.events.list(key())]
    assert kept == [f"word {number}" for number in range(20, limits.KEPT_PER_OBJECT + 20)]
    assert [e.message for e in database.events.list(key("two"))] == ["quiet"]


def test_all_together_are_bounded(database: Database) -> None:
    with database.connection.write(durable=False):
        database.connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO events SELECT i, 'K', 'default', 'n' || i, 'u' || i, 'Normal', 'R', 'm', ?, ?, 1 FROM n",
            (limits.KEPT, START.isoformat(timespec="microseconds"), START.isoformat(timespec="microseconds")),
        )
    database.events.record(event("newest", START + timedelta(seconds=1)))
    kept = database.events.list()
    assert len(kept) == limits.KEPT
    assert kept[-1].message == "newest"


def test_old_ones_go(database: Database) -> None:
    database.events.record(event("old"))
    database.events.record(event("new", START + limits.KEPT_FOR + timedelta(seconds=1)))
    assert [e.message for e in database.events.list()] == ["new"]


def test_an_earlier_time_never_moves_an_event_back(database: Database) -> None:
    database.events.record(event("same"))
    database.events.record(event("same", START - timedelta(days=1)))
    (kept,) = database.events.list()
    assert (kept.first, kept.last, kept.count) == (START - timedelta(days=1), START, 2)


def test_times_of_other_zones_are_ordered_by_the_moment(database: Database) -> None:
    east = timezone(timedelta(hours=5))
    database.events.record(event("second", START.astimezone(east) + timedelta(seconds=1)))
    database.events.record(event("first", START))
    assert [e.message for e in database.events.list()] == ["first", "second"]


def test_text_that_is_no_unicode_is_kept_as_far_as_it_goes(database: Database) -> None:
    database.events.record(event(b"log: \xff\xfe end".decode(errors="surrogateescape")))
    assert [e.message for e in database.events.list()] == ["log: ?? end"]
