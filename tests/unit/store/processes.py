"""What the tests let other processes do: run by multiprocessing, which imports it there."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from matrix_store.errors import Conflict
from tests.unit.store.support import key, manifest, open_database

WAIT_SECONDS = 90.0
_context = multiprocessing.get_context("spawn")


@contextmanager
def started(target: Callable[..., None], *args: Any) -> Iterator[tuple[BaseProcess, Pipe]]:
    """A process that runs `target(pipe, *args)`, and our end of the pipe; killed with the block if it still runs."""
    ours, theirs = _context.Pipe()
    process = _context.Process(target=target, args=(theirs, *args))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join(WAIT_SECONDS)
        ours.close()


def receive(pipe: Pipe) -> Any:
    """The next thing that the process says."""
    assert pipe.poll(WAIT_SECONDS), "the process said nothing"
    return pipe.recv()


def apply_many(pipe: Pipe, path: Path, prefix: str, count: int) -> None:
    """Apply `count` objects, and count up the one status that all writers share, looking again after each conflict."""
    database = open_database(path, busy_seconds=WAIT_SECONDS)
    conflicts = 0
    for number in range(count):
        database.objects.apply_all([manifest(f"{prefix}{number}")])
        while True:
            shared = database.objects.get(key("shared"))
            total = shared.raw.get("status", {}).get("total", 0)
            try:
                database.objects.write_status(shared.key, {"total": total + 1}, resource_version=shared.resource_version)
                break
            except Conflict:
                conflicts += 1
    database.close()
    pipe.send(conflicts)


def write_and_hang(pipe: Pipe, path: Path) -> None:
    """Stop in the middle of a transaction, with pages already written to the disk."""
    database = open_database(path)
    with database.connection.write(durable=True):
        database.connection.execute("PRAGMA cache_spill = 1")
        database.connection.execute("PRAGMA cache_size = 1")
        database.connection.execute("DELETE FROM objects WHERE name <> 'c0'")
        for number in range(500):
            database.connection.execute(
                "INSERT INTO objects VALUES ('MatrixCluster', 'default', ?, ?, ?, ?)",
                (f"n{number}", f"u{number}", 10_000 + number, "x" * 5000),
            )
        pipe.send("in the middle")
        time.sleep(WAIT_SECONDS)


def keep_applying(pipe: Pipe, path: Path) -> None:
    """Apply one object after the other, saying which is stored, until killed."""
    database = open_database(path)
    for number in range(100_000):
        database.objects.apply_all([manifest(f"a{number}"), manifest(f"b{number}")])
        pipe.send(number)


def take_lock(pipe: Pipe, path: Path) -> None:
    """Take the controller's lock and sit there."""
    open_database(path).lock().acquire({"metricsPort": 1234})
    pipe.send("taken")
    time.sleep(WAIT_SECONDS)


def race_for_lock(pipe: Pipe, path: Path) -> None:
    """Create the file and take the lock at the same moment as others; say who got it, then keep it until told."""
    from matrix_store.errors import LockedElsewhere

    pipe.send("ready")
    pipe.recv()
    database = open_database(path)
    try:
        database.lock().acquire()
        pipe.send("got it")
    except LockedElsewhere:
        pipe.send("refused")
    pipe.recv()
