"""An older file becomes a newer one in one step, with everything in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from matrix_store import schema
from matrix_store.errors import Unavailable
from tests.unit.store.support import KIND, manifest, open_database


def with_migration(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, script))
    monkeypatch.setattr(schema, "VERSION", len(schema.MIGRATIONS))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_an_older_file_is_migrated_and_keeps_its_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "matrix.db"
    with closing(open_database(path)) as database:
        database.objects.apply_all([manifest()])
        before = database.objects.list(KIND)
    old = version(path)
    with_migration(monkeypatch, "CREATE TABLE extra (a TEXT); INSERT INTO extra VALUES ('x');")
    for _ in range(2):
        with closing(open_database(path)) as database:
            assert database.objects.list(KIND) == before
            assert database.connection.rows("SELECT a FROM extra") == [("x",)]
    assert version(path) == old + 1


def test_a_migration_that_fails_half_way_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "matrix.db"
    open_database(path).close()
    old = version(path)
    with monkeypatch.context() as patch:
        with_migration(patch, "CREATE TABLE extra (a TEXT); INSERT INTO nowhere VALUES (1);")
        with pytest.raises(Unavailable, match="nowhere"):
            open_database(path)
    assert version(path) == old
    with closing(open_database(path)) as database:
        assert database.connection.rows("SELECT name FROM sqlite_master WHERE name = 'extra'") == []


def test_a_new_file_is_of_the_present_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_migration(monkeypatch, "CREATE TABLE extra (a TEXT);")
    path = tmp_path / "matrix.db"
    open_database(path).close()
    assert version(path) == schema.VERSION
