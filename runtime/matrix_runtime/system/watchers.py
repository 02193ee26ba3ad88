"""Who watches the directory, and what each is still to be told.

A change is worked out and encoded once, however many watch. A watcher that does not keep up costs no more than its short queue: instead
of an ever longer one it gets a full update when it is ready for the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from matrix_proto import directory_pb2
from matrix_proto.state import Replica
from matrix_runtime.system import wire

QUEUED_UPDATES = 16
"""Of one watcher; about as many seconds."""


class Watcher:
    """One stream's queue."""

    def __init__(self, full: Callable[[], bytes]) -> None:
        self._full = full
        self._queue: deque[bytes] = deque()
        self._starts_over = True
        self._wake = asyncio.Event()
        self._wake.set()

    def tell(self, update: bytes) -> None:
        """One more update; the whole queue falls away when it is full."""
        if len(self._queue) >= QUEUED_UPDATES:
            self.start_over()
        if not self._starts_over:
            self._queue.append(update)
        self._wake.set()

    def start_over(self) -> None:
        """The next update is a full one, made when it is sent."""
        self._queue.clear()
        self._starts_over = True
        self._wake.set()

    async def next(self) -> bytes:
        """The next encoded Update, as soon as there is one."""
        await self._wake.wait()
        update = self._take()
        if not self._queue:
            self._wake.clear()
        return update

    def _take(self) -> bytes:
        if self._starts_over:
            self._starts_over = False
            return self._full()
        return self._queue.popleft()


class Watchers:
    """All of them. `replicas` gives those that the directory knows, each with whether it is suspect; `revision` its revision."""

    def __init__(self, instance: str, replicas: Callable[[], Iterable[tuple[Replica, bool]]], revision: Callable[[], int]) -> None:
        self._instance = instance
        self._replicas = replicas
        self._revision = revision
        self._settled = False
        self._told: wire.Known = {}
        self._told_revision = revision()
        self._full: bytes | None = None
        self._watchers: set[Watcher] = set()

    def join(self) -> Watcher:
        """One more; its first update is there at once."""
        watcher = Watcher(self._encoded_full)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Told nothing any more."""
        self._watchers.discard(watcher)

    def publish(self) -> None:
        """Tells everyone what has changed since the last time; an empty update says that the directory lives."""
        now = wire.known(self._replicas())
        update = self._encoded(wire.difference(self._told, now), self._revision())
        self._told, self._told_revision, self._full = now, self._revision(), None
        for watcher in self._watchers:
            watcher.tell(update)

    def settle(self) -> None:
        """Every replica has had the time to report: who is not known is gone. Everyone gets a full update that says so."""
        self._settled = True
        self.publish()
        for watcher in self._watchers:
            watcher.start_over()

    def _encoded_full(self) -> bytes:
        if self._full is None:
            self._full = self._encoded(wire.full(self._told), self._told_revision)
        return self._full

    def _encoded(self, update: directory_pb2.Update, revision: int) -> bytes:
        update.instance, update.revision, update.settled = self._instance, revision, self._settled
        return bytes(update.SerializeToString())
