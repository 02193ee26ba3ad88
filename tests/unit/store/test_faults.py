"""What can be wrong with the state file: each ends in one line that names the file and what to do, and never in a lost file."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from matrix_store import schema
from matrix_store.errors import Corrupt, Full, StoreError, Unavailable
from tests.fakes.full_disk import fill
from tests.unit.store.support import KIND, key, manifest, open_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file with some objects in it, closed."""
    path = tmp_path / "matrix.db"
    with closing(open_database(path)) as database:
        database.objects.apply_all([manifest(f"c{number}") for number in range(50)])
    return path


def refusal(path: Path, kind: type[StoreError]) -> str:
    """The one line that opening and reading the file ends in."""
    with pytest.raises(kind) as caught, closing(open_database(path)) as database:
        database.objects.list(KIND)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="emptied"),
        pytest.param(lambda data: b"no database at all, but text\n" * 100, id="text"),
        pytest.param(lambda data: b"\0" * len(data), id="zeroes"),
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: data[:100], id="truncated to its header"),
        pytest.param(lambda data: data[:4096] + b"\xff" * (len(data) - 4096), id="overwritten behind the first page"),
    ],
)
def test_a_damaged_file_is_named_and_left_as_it_is(path: Path, damage: object) -> None:
    damaged = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(damaged)
    assert "damaged" in refusal(path, Corrupt)
    assert path.read_bytes() == damaged


def test_an_object_that_is_no_json_is_damage(path: Path) -> None:
    with closing(open_database(path)) as database:
        database.connection.execute("UPDATE objects SET raw = '{' WHERE name = 'c7'")
        assert database.objects.get(key("c8")).key.name == "c8"
    assert "not JSON" in refusal(path, Corrupt)


def test_another_program_s_sqlite_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "matrix.db"
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE photos (name TEXT)")
    before = path.read_bytes()
    assert "not one of Matrix" in refusal(path, Corrupt)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    assert "newer Matrix" in refusal(path, Unavailable)


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "matrix.db").mkdir()
    assert "is not a file" in refusal(tmp_path / "matrix.db", Unavailable)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(Unavailable, match=f"{tmp_path / 'state'} is not a directory"):
        open_database(tmp_path / "state" / "matrix.db")


def test_missing_directories_are_created_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "matrix.db"
    previous = os.umask(0)
    try:
        with closing(open_database(path)) as database:
            database.objects.apply_all([manifest()])
            files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(previous)
    assert files == {"matrix.db": 0o600, "matrix.db-wal": 0o600, "matrix.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_path_with_odd_characters_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%20é" / "matrix.db"
    with closing(open_database(path)) as database:
        database.objects.apply_all([manifest()])
    assert path.is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    point = tmp_path / "small"
    point.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", point], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
    yield point
    subprocess.run(["umount", point], check=True)


def test_a_full_disk_keeps_what_was_written_and_works_again_when_there_is_room(small_disk: Path) -> None:
    path = small_disk / "matrix.db"
    with closing(open_database(path)) as database:
        database.objects.apply_all([manifest("before")])
        filler = fill(small_disk)
        with pytest.raises(Full, match=f"no room to write {path}"):
            database.objects.apply_all([manifest(f"c{number}", annotations={"a": "x" * 10_000}) for number in range(100)])
        assert [stored.key.name for stored in database.objects.list(KIND)] == ["before"]
        filler.unlink()
        database.objects.apply_all([manifest("after")])
        assert [stored.key.name for stored in database.objects.list(KIND)] == ["after", "before"]
        database.check()


def test_opening_on_a_full_disk_says_so(small_disk: Path) -> None:
    path = small_disk / "matrix.db"
    open_database(path).close()
    fill(small_disk)
    with pytest.raises(Full, match=str(path)), closing(open_database(path)) as database:
        database.objects.apply_all([manifest("new", annotations={"a": "x" * 10_000})])


def test_creating_on_a_full_disk_says_so_and_leaves_nothing(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(Full, match=f"no room to create {small_disk / 'matrix.db'}"):
        open_database(small_disk / "matrix.db")
    assert [file.name for file in small_disk.iterdir()] == ["filler"]


def test_a_read_only_disk_says_so(small_disk: Path) -> None:
    path = small_disk / "matrix.db"
    open_database(path).close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(Unavailable, match=f"{path} can't be written to: check"), closing(open_database(path)) as database:
        database.objects.apply_all([manifest()])
    with pytest.raises(Unavailable, match="can't be created"):
        open_database(small_disk / "new" / "matrix.db")
