"""The loop of an engine: feeds the controller from the store's watch, keeps the pulse, and ends when nothing is left to manage."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable

from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import Backends
from matrix_operator.engines.pulse import Pulse
from matrix_operator.errors import ForeignFault
from matrix_operator.http import Http, HttpClient
from matrix_operator.metrics import ControllerMetrics
from matrix_operator.reconcile.cache import ObjectCache, cluster_key
from matrix_operator.reconcile.controller import Controller
from matrix_operator.reconcile.pace import AGAIN, SETTLING, STEADY, shared, steady
from matrix_operator.reconcile.queue import WorkQueue
from matrix_operator.reconcile.reading import section
from matrix_operator.reconcile.steps import StepHook, no_hook
from matrix_store.errors import Conflict, NotFound, StoreError
from matrix_store.port import Change, ChangeType, Store, StoredObject

log = logging.getLogger(__name__)

WORKERS = {"MatrixCluster": 64, "ModelDeployment": 4}
"""Workers by kind, each with a queue of its own: a cluster's look waits for networks, up to their deadlines; a deployment's never does."""
IDLE_EXIT_SECONDS = 10.0
HELD_UP_SECONDS = 0.1
"""Between two looks whether the lock is held (again)."""


class Engine:
    """Feeds the controller from the store's watch, and keeps the clusters' pulse."""

    def __init__(
        self,
        store: Store,
        backends: Backends,
        metrics: ControllerMetrics,
        hook: StepHook = no_hook,
        may_act: Callable[[], bool] = lambda: True,
        changes: AsyncIterator[Change] | None = None,
        keep_running: bool = False,
        http: Http | None = None,
        leads: asyncio.Event | None = None,
    ) -> None:
        """`changes`: what wakes it, if not the store's own watch. `keep_running`: also with nothing to manage. `http`: the
        way to the clusters, closed at the end; straight there by default. `leads`: until it is set everything is heard of and nothing
        is worked on."""
        self._leads = leads
        self._may_act = may_act
        self._held_up = float("-inf")
        """When a worker last found that it may not act."""
        self._keep_running = keep_running
        self._changes = changes if changes is not None else store.watch(*WORKERS)
        self._metrics = metrics
        self._http = http if http is not None else HttpClient()
        self._cache = ObjectCache()
        self._watched: dict[ObjectKey, StoredObject] = {}
        """What the watch said last. Not the cache: that one knows our own writes before the watch tells of them, and whom a change
        concerns is decided by the watch."""
        self._eager: set[ObjectKey] = set()
        """Those that are looked at again soon, though nobody asks for it."""
        self._queues = {kind: WorkQueue(time.monotonic, random.Random()) for kind in WORKERS}
        self.controller = Controller(store, self._cache, backends, self._http, metrics, self._wake, hook=hook, may_act=may_act)
        metrics.tell_of(self._cache.all)
        self._pulse = Pulse(self.controller.views.seen, backends, self._http, self._wake)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or nothing is left to manage for IDLE_EXIT_SECONDS (unless it is to keep running). Raises StoreError if
        the store is lost."""
        tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._pulse.run())]
        tasks += [asyncio.create_task(self._work(self._queues[kind])) for kind, count in WORKERS.items() for _ in range(count)]
        ends = [asyncio.create_task(stop.wait()), asyncio.create_task(self._idle())]
        try:
            done, _ = await asyncio.wait([*tasks, *ends], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, *ends):
                task.cancel()
            await asyncio.gather(*tasks, *ends, return_exceptions=True)
            await self._http.close()

    @property
    def synced(self) -> bool:
        """Everything that existed at the start is known."""
        return self._cache.synced.is_set()

    @property
    def longest(self) -> float:
        """Seconds that the reconcile lasts which began first."""
        return max(queue.longest for queue in self._queues.values())

    @property
    def stalled(self) -> float:
        """Seconds for which objects have been due and nobody took one up: those of a process that may not act wait without being
        counted."""
        led = self._leads is None or self._leads.is_set()
        longest = max(queue.stalled for queue in self._queues.values()) if led else 0.0
        return min(longest, time.monotonic() - self._held_up)

    async def _watch(self) -> None:
        async for change in self._changes:
            self._cache.take(change)
            if change.key is not None:
                before = self._watched.pop(change.key, None)
                now = None if change.type is ChangeType.DELETED else change.object
                if now is not None:
                    self._watched[change.key] = now
                self._enqueue(change.key, before, now)

    def _enqueue(self, key: ObjectKey, before: StoredObject | None, now: StoredObject | None) -> None:
        if now is None:
            self._queues[key.kind].forget(key)
            self._eager.discard(key)
        self._wake(key)
        if key.kind == "MatrixCluster" and (before is None) != (now is None):
            for stored in self._cache.deployments_of(key):
                self._wake(stored.key)
        elif key.kind == "ModelDeployment" and _concerns(before) != _concerns(now):
            for cluster in {cluster_key(stored) for stored in (before, now) if stored}:
                if cluster is not None:
                    self._wake(cluster)

    def look_again(self) -> None:
        """At everything, now: what failed while nothing could be done need not wait any longer."""
        for stored in self._cache.all():
            self._wake(stored.key)

    def _wake(self, key: ObjectKey) -> None:
        self._queues[key.kind].add(key)

    async def _work(self, queue: WorkQueue) -> None:
        await self._cache.synced.wait()
        if self._leads is not None:
            await self._leads.wait()
        while True:
            await self._until_it_may_act()
            key = await queue.get()
            try:
                await self._reconcile(queue, key)
            finally:
                queue.done(key)

    async def _until_it_may_act(self) -> None:
        """While the lock can't be proven to be held no work is taken up: every look would end in a write that is not made."""
        while not self._may_act():
            self._held_up = time.monotonic()
            await asyncio.sleep(HELD_UP_SECONDS)

    async def _reconcile(self, queue: WorkQueue, key: ObjectKey) -> None:
        started = time.monotonic()
        result = "ok"
        try:
            again = await self.controller.reconcile(key)
            queue.succeeded(key)
            if again is None:
                self._eager.discard(key)
            else:
                queue.add(key, self._paced(key, again))
        except (Conflict, NotFound):
            result = "conflict"
            queue.add_after_conflict(key)
        except (ForeignFault, StoreError) as fault:
            result = "retry"
            delay = queue.add_after_failure(key)
            self._metrics.errors.labels(key.kind, "retry").inc()
            log.warning("%s: %s; again in %.1f s", key, fault, delay)
        except Exception:  # of the controller itself: it must not take all objects along
            result = "retry"
            delay = queue.add_after_failure(key)
            self._metrics.errors.labels(key.kind, "bug").inc()
            log.exception("%s: a bug in the controller; again in %.1f s", key, delay)
        self._metrics.reconciles.labels(key.kind, result).inc()
        self._metrics.seconds.labels(key.kind).observe(time.monotonic() - started)

    def _paced(self, key: ObjectKey, again: float) -> float:
        """A step that was just taken is followed up at once; what is only waited for has to share."""
        if again <= AGAIN or again >= SETTLING:
            self._eager.discard(key)
            return steady(self._cache.count(key.kind)) if again == STEADY else again
        self._eager.add(key)
        return shared(again, len(self._eager))

    async def _idle(self) -> None:
        """Returns when there was no cluster, and nothing to do, for a while (never if it is to keep running)."""
        await self._cache.synced.wait()
        since = time.monotonic()
        while time.monotonic() - since < IDLE_EXIT_SECONDS:
            await asyncio.sleep(1.0)
            for kind, queue in self._queues.items():
                self._metrics.queue.labels(kind).set(len(queue))
            if self._keep_running or self._cache.count("MatrixCluster") or not all(queue.idle for queue in self._queues.values()):
                since = time.monotonic()
        log.info("nothing left to manage")


def _concerns(stored: StoredObject | None) -> tuple[object, ...] | None:
    """What of a deployment its cluster's Serve configuration depends on: it wants a look when this changes."""
    if stored is None:
        return None
    return stored.uid, stored.generation, stored.deleting, section(stored.raw, "status", "allocation").get("attempt", 1)
