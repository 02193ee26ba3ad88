"""The objects of some kinds, kept current by one watch: what waiting and `--watch` look at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from matrix_crds.keys import ObjectKey
from matrix_store.port import Change, ChangeType, Store, StoredObject


class Mirror:
    """`objects` is what the store holds. The watch may coalesce: look at the state, not at the changes."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, StoredObject] = {}
        self._changed = asyncio.Event()
        self._synced = asyncio.Event()
        self._failure: Exception | None = None

    def take(self, change: Change) -> None:
        """Bring one change of the watch in."""
        if change.type is ChangeType.SYNCED:
            self._synced.set()
        elif change.key is not None and change.type is ChangeType.DELETED:
            self.objects.pop(change.key, None)
        elif change.key is not None and change.object is not None:
            self.objects[change.key] = change.object
        self._changed.set()

    def fail(self, error: Exception) -> None:
        """The watch has ended: whoever waits gets the error."""
        self._failure = error
        self._synced.set()
        self._changed.set()

    async def synced(self) -> None:
        """Returns when everything that existed when the watch began is here. Raises what the watch raised."""
        await self._synced.wait()
        self._raise_failure()

    async def change(self, seconds: float | None = None) -> bool:
        """True as soon as something has changed since the last call, False after `seconds` without. Raises what the watch raised."""
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
async def mirroring(store: Store, kinds: Sequence[str], namespaces: Collection[str]) -> AsyncIterator[Mirror]:
    """A mirror that is complete at the start of the block. Of one namespace nothing else is looked at: not everybody may see all."""
    namespace = next(iter(namespaces)) if len(namespaces) == 1 else None
    mirror = Mirror()

    async def pump() -> None:
        try:
            async for change in store.watch(*kinds, namespace=namespace):
                mirror.take(change)
        except Exception as error:
            mirror.fail(error)

    task = asyncio.create_task(pump())
    try:
        await mirror.synced()
        yield mirror
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
