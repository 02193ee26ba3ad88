"""The objects of some kinds, kept current by watches: what waiting and `--watch` look at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from matrix_client.errors import UsageError
from matrix_crds.keys import ObjectKey
from matrix_store.port import Change, ChangeType, Store, StoredObject

MOST_WATCHES = 200
"""Of one mirror, namespaces times kinds: each may take a connection for as long as it goes on."""


class Mirror:
    """`objects` is what the store holds. A watch may coalesce: look at the state, not at the changes."""

    def __init__(self, watches: int) -> None:
        """`watches`: how many tell it of different objects."""
        self.objects: dict[ObjectKey, StoredObject] = {}
        self._changed = asyncio.Event()
        self._unsynced = watches
        self._synced = asyncio.Event()
        if not watches:
            self._synced.set()
        self._failure: Exception | None = None

    def take(self, change: Change) -> None:
        """Bring one change of a watch in."""
        if change.type is ChangeType.SYNCED:
            self._unsynced -= 1
            if not self._unsynced:
                self._synced.set()
        elif change.key is not None and change.type is ChangeType.DELETED:
            self.objects.pop(change.key, None)
        elif change.key is not None and change.object is not None:
            self.objects[change.key] = change.object
        self._changed.set()

    def fail(self, error: Exception) -> None:
        """A watch has ended: whoever waits gets the error."""
        self._failure = error
        self._synced.set()
        self._changed.set()

    async def synced(self) -> None:
        """Returns when everything that existed when the watches began is here. Raises what a watch raised."""
        await self._synced.wait()
        self._raise_failure()

    async def change(self, seconds: float | None = None) -> bool:
        """True as soon as something has changed since the last call, False after `seconds` without. Raises what a watch raised."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        self._raise_failure()
        return True

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


@asynccontextmanager
async def mirroring(store: Store, kinds: Sequence[str], namespaces: Collection[str] | None) -> AsyncIterator[Mirror]:
    """A mirror that is complete at the start of the block. Nothing outside of `namespaces` is looked at, since not everybody may see
    all; None: all of them. Raises UsageError when they are too many."""
    watched: Collection[str | None] = {None} if namespaces is None else set(namespaces)
    most = MOST_WATCHES // max(1, len(kinds))
    if len(watched) > most:
        raise UsageError(f"{len(watched)} namespaces can't be watched at once, only {most}: take fewer at a time")
    mirror = Mirror(len(watched))

    async def pump(namespace: str | None) -> None:
        try:
            async for change in store.watch(*kinds, namespace=namespace):
                mirror.take(change)
        except Exception as error:
            mirror.fail(error)

    tasks = [asyncio.create_task(pump(namespace)) for namespace in watched]
    try:
        await mirror.synced()
        yield mirror
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
