"""SqliteStore: the Store port over the state file.

All SQLite calls of a store run in one thread of its own, so that a disk that hangs (a network file system can for minutes)
stops nobody else in the process: not the heartbeat's judge, not a look at Ray, not a progress display.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from matrix_crds.keys import ObjectKey
from matrix_store.database import Database
from matrix_store.errors import Busy
from matrix_store.port import ApplyResult, Change, Event, Raw, StoredObject
from matrix_store.watch import Follower

POLL_SECONDS = 0.1
IDLE_POLL_SECONDS = 0.5
"""How late a watcher may hear of another process's write: soon while things happen, later once nothing has happened for a while.
(A wake-up alone costs some 0.3 ms of CPU: ten a second would already be 0.3 % of a core.) Its own process's writes it hears of at once."""
IDLE_AFTER_SECONDS = 10.0

P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore:
    """Implements matrix_store.port.Store. Made by `open`; belongs to one event loop."""

    def __init__(self, database: Database, thread: ThreadPoolExecutor) -> None:
        self._database = database
        self._thread = thread
        self._watchers: set[asyncio.Event] = set()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, database: Callable[[Path], Database] = Database) -> SqliteStore:
        """Open the state file, or create it, and read it for damage. Raises Unavailable, Busy, Full, Corrupt."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="matrix-store")
        loop = asyncio.get_running_loop()
        try:
            opened = await loop.run_in_executor(thread, database, path)
            await loop.run_in_executor(thread, opened.check)
        except BaseException:
            thread.shutdown()
            raise
        return cls(opened, thread)

    async def get(self, key: ObjectKey) -> StoredObject:
        return await self._call(self._database.objects.get, key)

    async def list(self, kind: str, namespace: str | None = None) -> Sequence[StoredObject]:
        return await self._call(self._database.objects.list, kind, namespace)

    async def watch(self, *kinds: str, namespace: str | None = None) -> AsyncIterator[Change]:
        follower = self._database.follow(*kinds)
        written = asyncio.Event()
        self._watchers.add(written)
        now = asyncio.get_running_loop().time
        last_news = now()
        try:
            while not self._closed:
                written.clear()
                for change in await self._poll(follower):
                    if namespace is None or change.key is None or change.key.namespace == namespace:
                        yield change
                    last_news = now()
                await _wait(written, POLL_SECONDS if now() - last_news < IDLE_AFTER_SECONDS else IDLE_POLL_SECONDS)
        finally:
            self._watchers.discard(written)

    async def apply(self, manifest: Raw, *, dry_run: bool = False) -> tuple[StoredObject, ApplyResult]:
        return (await self.apply_all([manifest], dry_run=dry_run))[0]

    async def apply_all(self, manifests: Sequence[Raw], *, dry_run: bool = False) -> Sequence[tuple[StoredObject, ApplyResult]]:
        return await self._change(self._database.objects.apply_all, manifests, dry_run=dry_run)

    async def write_spec(self, key: ObjectKey, spec: Raw, *, resource_version: str) -> StoredObject:
        return await self._change(self._database.objects.write_spec, key, spec, resource_version=resource_version)

    async def write_status(self, key: ObjectKey, status: Raw, *, resource_version: str) -> StoredObject:
        return await self._change(self._database.objects.write_status, key, status, resource_version=resource_version)

    async def set_finalizers(self, key: ObjectKey, finalizers: Sequence[str], *, resource_version: str) -> StoredObject | None:
        return await self._change(self._database.objects.set_finalizers, key, finalizers, resource_version=resource_version)

    async def delete(self, key: ObjectKey, *, uid: str | None = None) -> StoredObject | None:
        return await self._change(self._database.objects.delete, key, uid=uid)

    async def record(self, event: Event) -> None:
        await self._call(self._database.events.record, event)

    async def events(self, key: ObjectKey | None = None, namespace: str | None = None) -> Sequence[Event]:
        found = await self._call(self._database.events.list, key)
        return found if namespace is None else [event for event in found if event.key.namespace == namespace]

    async def close(self) -> None:
        if not self._closed:
            self._closed = True  # first: no watcher may poll behind the close
            await self._call(self._database.close)
            self._thread.shutdown(wait=False)
            self._wake()

    async def _poll(self, follower: Follower) -> Sequence[Change]:
        """What is new; nothing while another process holds the file (the next poll will tell)."""
        with suppress(Busy):
            return await self._call(follower.poll)
        return ()

    async def _change(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        result = await self._call(function, *args, **kwargs)
        self._wake()
        return result

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def _wake(self) -> None:
        for written in self._watchers:
            written.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
