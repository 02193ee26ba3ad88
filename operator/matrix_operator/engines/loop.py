"""The loop of an engine: feeds the controller from the store's watch, keeps the pulse, and ends when nothing is left to manage."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from matrix_crds.keys import ObjectKey
from matrix_operator.engines.pulse import Pulse
from matrix_operator.errors import ForeignFault
from matrix_operator.http import HttpClient
from matrix_operator.metrics import ControllerMetrics
from matrix_operator.reconcile.controller import Backends, Controller, StepHook, no_hook
from matrix_operator.reconcile.queue import WorkQueue
from matrix_store.errors import Conflict, NotFound, StoreError
from matrix_store.port import Change, ChangeType, Store

log = logging.getLogger(__name__)

KINDS = ("MatrixCluster", "ModelDeployment")
WORKERS = 16
IDLE_EXIT_SECONDS = 10.0


class Engine:
    """Feeds the controller from the store's watch, and keeps the clusters' pulse."""

    def __init__(
        self,
        store: Store,
        backends: Backends,
        metrics: ControllerMetrics,
        hook: StepHook = no_hook,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._http = HttpClient()
        self._queue = WorkQueue(time.monotonic, random.Random())
        self.controller = Controller(store, backends, self._http, metrics, self._queue.add, hook=hook, may_act=may_act)
        self._pulse = Pulse(self.controller, backends, self._http, self._queue.add)
        self._known: dict[ObjectKey, tuple[int, str]] = {}
        self._synced = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or nothing is left to manage for IDLE_EXIT_SECONDS. Raises StoreError if the store is lost."""
        tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._pulse.run())]
        tasks += [asyncio.create_task(self._work()) for _ in range(WORKERS)]
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

    async def _watch(self) -> None:
        async for change in self._store.watch(*KINDS):
            if change.type is ChangeType.SYNCED:
                self._synced.set()
            elif change.key is not None:
                self._enqueue(change.key, change)

    def _enqueue(self, key: ObjectKey, change: Change) -> None:
        gone = change.type is ChangeType.DELETED
        if gone:
            self._known.pop(key, None)
            self._queue.forget(key)
        self._queue.add(key)
        if key.kind == "MatrixCluster" and gone:
            self._wake_dependents(key)
        if key.kind == "ModelDeployment" and change.object is not None:
            self._wake_cluster(key, change)

    def _wake_cluster(self, key: ObjectKey, change: Change) -> None:
        """A cluster's Serve config holds its deployments: it wants a look when one came, went, or changed its spec or attempt."""
        assert change.object is not None
        reference = (change.object.raw.get("spec") or {}).get("clusterRef") or {}
        allocation = (change.object.raw.get("status") or {}).get("allocation") or {}
        now = (change.object.generation, f"{change.object.uid}/{allocation.get('attempt', 1)}")
        before = self._known.get(key)
        if change.type is not ChangeType.DELETED:
            self._known[key] = now
        if (change.type is ChangeType.DELETED or before != now) and isinstance(reference, dict) and reference.get("name"):
            self._queue.add(ObjectKey("MatrixCluster", key.namespace, str(reference["name"])))

    def _wake_dependents(self, cluster: ObjectKey) -> None:
        for key in self._known:
            if key.kind == "ModelDeployment" and key.namespace == cluster.namespace:
                self._queue.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._reconcile(key)
            finally:
                self._queue.done(key)

    async def _reconcile(self, key: ObjectKey) -> None:
        started = time.monotonic()
        result = "ok"
        try:
            again = await self.controller.reconcile(key)
            self._queue.succeeded(key)
            if again is not None:
                self._queue.add(key, again)
        except (Conflict, NotFound):
            result = "conflict"
            self._queue.add(key, 0.02)
        except (ForeignFault, StoreError) as fault:
            result = "retry"
            delay = self._queue.add_after_failure(key)
            self._metrics.errors.labels(key.kind, "retry").inc()
            log.warning("%s: %s; again in %.1f s", key, fault, delay)
        self._metrics.reconciles.labels(key.kind, result).inc()
        self._metrics.seconds.labels(key.kind).observe(time.monotonic() - started)
        self._metrics.queue.set(len(self._queue))

    async def _idle(self) -> None:
        """Returns when there was no cluster, and nothing to do, for a while."""
        await self._synced.wait()
        since = time.monotonic()
        while time.monotonic() - since < IDLE_EXIT_SECONDS:
            await asyncio.sleep(1.0)
            if not self._queue.idle or await self._count_objects():
                since = time.monotonic()
        log.info("nothing left to manage")

    async def _count_objects(self) -> int:
        """Clusters there are. Sets the gauge of objects on the way."""
        counts: dict[tuple[str, str], int] = {}
        clusters = 0
        for kind in KINDS:
            for stored in await self._store.list(kind):
                clusters += kind == "MatrixCluster"
                conditions = (stored.raw.get("status") or {}).get("conditions") or []
                ready = next((item.get("status", "Unknown") for item in conditions if item.get("type") == "Ready"), "Unknown")
                counts[kind, ready] = counts.get((kind, ready), 0) + 1
        self._metrics.objects.clear()
        for (kind, ready), count in counts.items():
            self._metrics.objects.labels(kind, ready).set(count)
        return clusters
