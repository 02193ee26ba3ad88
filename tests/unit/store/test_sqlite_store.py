"""The SQLite store does what every store must, and what only it can."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from matrix_store.database import Database
from matrix_store.errors import Corrupt, Unavailable
from matrix_store.port import ChangeType, Store
from matrix_store.sqlite import SqliteStore
from tests.unit.store.conformance import StoreConformance, watching
from tests.unit.store.support import KIND, Refused, is_synced, key, manifest, open_database, open_on_network, run, until


@asynccontextmanager
async def opened(path: Path, database: Callable[[Path], Database] = open_database) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, database)
    try:
        yield store
    finally:
        await store.close()


class TestSqliteStore(StoreConformance):
    refusal = Refused

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "state" / "matrix.db"

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        return opened(self.path)


class TestSqliteStoreOnANetworkFileSystem(TestSqliteStore):
    def open_store(self) -> AbstractAsyncContextManager[Store]:
        return opened(self.path, open_on_network)


def test_objects_outlive_the_store(tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(tmp_path / "matrix.db") as store:
            made, _ = await store.apply(manifest())
        async with opened(tmp_path / "matrix.db") as store:
            assert await store.get(key()) == made

    run(body())


def test_a_watch_hears_of_what_another_process_writes(tmp_path: Path) -> None:
    async def body() -> None:
        path = tmp_path / "matrix.db"
        async with opened(path) as store, watching(store, KIND) as changes:
            await until(changes, is_synced)
            other = open_database(path)  # another connection: to SQLite the same as another process
            await asyncio.to_thread(other.objects.apply_all, [manifest()])
            assert (await anext(changes)).key == key()
            await asyncio.to_thread(other.objects.delete, key())
            assert (await anext(changes)).type is ChangeType.DELETED
            other.close()

    run(body())


def test_a_watch_waits_while_another_process_holds_the_file(tmp_path: Path) -> None:
    async def body() -> None:
        path = tmp_path / "matrix.db"
        store = await SqliteStore.open(path, lambda path: open_on_network(path, busy_seconds=0.01))
        other = open_on_network(path)
        async with watching(store, KIND) as changes:
            other.connection.execute("BEGIN EXCLUSIVE")
            first = asyncio.create_task(anext(changes))
            await asyncio.wait([first], timeout=0.3)
            assert not first.done()
            other.connection.execute("COMMIT")
            assert is_synced(await first)
        other.close()
        await store.close()

    run(body())


def test_a_watch_ends_with_an_error_when_the_file_is_taken_away(tmp_path: Path) -> None:
    async def body() -> None:
        path = tmp_path / "matrix.db"
        async with opened(path) as store, watching(store, KIND) as changes:
            await until(changes, is_synced)
            path.unlink()
            with pytest.raises(Corrupt, match="removed or replaced"):
                await anext(changes)
            with pytest.raises(Corrupt, match="removed or replaced"):
                await store.apply(manifest())

    run(body())


def test_opening_reads_the_whole_file_for_damage(tmp_path: Path) -> None:
    path = tmp_path / "matrix.db"
    database = open_database(path)
    database.objects.apply_all([manifest(f"c{number}") for number in range(50)])
    database.close()
    with path.open("r+b") as file:
        file.seek(-6000, os.SEEK_END)
        file.write(b"\xff" * 3000)
    before = path.read_bytes()
    with pytest.raises(Corrupt, match=str(path)):
        run(SqliteStore.open(path, open_database))
    assert path.read_bytes() == before


def test_a_store_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    async def body() -> None:
        with pytest.raises(Unavailable):
            await SqliteStore.open(tmp_path, Database)

    run(body())
    assert not list(tmp_path.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("matrix-store")]
