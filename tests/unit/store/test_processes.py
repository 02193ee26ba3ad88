"""Several processes on one state file, and processes that die in the middle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from matrix_store.errors import Busy
from tests.unit.store.processes import WAIT_SECONDS, apply_many, keep_applying, receive, started, write_and_hang
from tests.unit.store.support import KIND, manifest, open_database


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "matrix.db"
    database = open_database(path)
    database.objects.apply_all([manifest("shared")])
    with ExitStack() as stack:
        pipes = [stack.enter_context(started(apply_many, path, prefix, 100))[1] for prefix in ("a", "b")]
        for pipe in pipes:
            receive(pipe)
    listed = {stored.key.name: stored for stored in database.objects.list(KIND)}
    assert len(listed) == 201
    assert listed["shared"].raw["status"] == {"total": 200}
    versions = [stored.resource_version for stored in listed.values()]
    assert len(set(versions)) == len(versions)
    database.close()


def test_a_writer_killed_in_the_middle_of_a_transaction_leaves_the_state_before_it(tmp_path: Path) -> None:
    path = tmp_path / "matrix.db"
    database = open_database(path)
    database.objects.apply_all([manifest(f"c{number}") for number in range(20)])
    before = database.objects.list(KIND)
    database.close()
    with started(write_and_hang, path) as (process, pipe):
        assert receive(pipe) == "in the middle"
        process.kill()
        process.join(WAIT_SECONDS)
    again = open_database(path)
    again.check()
    assert again.objects.list(KIND) == before
    again.objects.apply_all([manifest("c0", cpu="9")])
    again.close()


def test_what_was_acknowledged_before_a_kill_is_there_after_it_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "matrix.db"
    with started(keep_applying, path) as (process, pipe):
        while receive(pipe) < 30:
            pass
        process.kill()
        process.join(WAIT_SECONDS)
        acknowledged = 30
        while pipe.poll():
            try:
                acknowledged = pipe.recv()
            except EOFError:
                break
    database = open_database(path)
    names = {stored.key.name for stored in database.objects.list(KIND)}
    assert {f"{letter}{number}" for letter in "ab" for number in range(acknowledged + 1)} <= names
    assert {name[1:] for name in names if name[0] == "a"} == {name[1:] for name in names if name[0] == "b"}
    database.close()


def test_threads_share_one_connection_without_mixing_their_transactions(tmp_path: Path) -> None:
    database = open_database(tmp_path / "matrix.db")
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(database.objects.apply_all, [manifest(f"c{number}")]) for number in range(100)]:
            done.result()
    assert len(database.objects.list(KIND)) == 100
    database.close()


def test_a_file_held_by_another_process_is_busy_and_then_usable_again(tmp_path: Path) -> None:
    path = tmp_path / "matrix.db"
    database = open_database(path, busy_seconds=0.1)
    with started(write_and_hang, path) as (process, pipe):
        receive(pipe)
        with pytest.raises(Busy, match=f"{path} is held by another process"):
            database.objects.apply_all([manifest()])
        assert database.objects.list(KIND) == []  # readers are not kept out
        process.kill()
        process.join(WAIT_SECONDS)
    database.objects.apply_all([manifest()])
    database.close()
