"""The pulse of the clusters: notices between two looks that something outside has changed, and wakes the object.

Three cheap ways: the backend's own pulse (each second; no network), a long poll of the directory (answers when a replica comes, goes or
changes), and one small question to Ray's dashboard (each five seconds; it may hang while everything else runs).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable

from matrix_crds.cluster import MatrixCluster
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import Backends
from matrix_operator.backends.port import ClusterBackend
from matrix_operator.http import Http
from matrix_operator.looks import Present, Unknown
from matrix_operator.ray_rest import RayRest
from matrix_operator.reconcile.controller import Controller
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.runtime_state import RuntimeState
from matrix_proto.state import State

log = logging.getLogger(__name__)

BACKEND_SECONDS = 1.0
DASHBOARD_SECONDS = 5.0
DASHBOARDS_PER_SECOND = 20.0
"""With more than a hundred clusters each of them is asked less often."""
LONG_POLL_SECONDS = 30.0
AFTER_SILENCE_SECONDS = 1.0


class Pulse:
    """One task per part and cluster, for the clusters that the controller has looked at."""

    def __init__(self, controller: Controller, backends: Backends, http: Http, wake: Callable[[ObjectKey], None]) -> None:
        self._controller = controller
        self._backends = backends
        self._http = http
        self._wake = wake
        self._tasks: dict[ObjectKey, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._follow()
                await asyncio.sleep(BACKEND_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _follow(self) -> None:
        views = self._controller.views
        for key in [key for key in self._tasks if key not in views]:
            self._tasks.pop(key).cancel()
        for key in views:
            if key not in self._tasks or self._tasks[key].done():
                self._tasks[key] = asyncio.create_task(self._follow_cluster(key))

    async def _follow_cluster(self, key: ObjectKey) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._backend(key))
                group.create_task(self._directory(key))
                group.create_task(self._dashboard(key))
        except* Exception as errors:
            log.error("the pulse of %s stopped and is started again: %s", key, errors.exceptions[0])
            await asyncio.sleep(AFTER_SILENCE_SECONDS)

    async def _backend(self, key: ObjectKey) -> None:
        last: Hashable = None
        while view := self._controller.views.get(key):
            backend = self._backend_of(view.cluster)
            felt = await backend.pulse(view.cluster) if backend else None
            # What changed between a look that saw nothing and the first pulse would else be found at the next look, which may be far.
            if felt != last if last is not None else isinstance(view.backend, Unknown):
                self._wake(key)
            last = felt
            await asyncio.sleep(BACKEND_SECONDS)

    def _backend_of(self, cluster: MatrixCluster) -> ClusterBackend | None:
        choice = self._backends.choose(cluster)
        return choice.backend if choice else None

    async def _directory(self, key: ObjectKey) -> None:
        last: State | None = None
        while view := self._controller.views.get(key):
            if not view.head_running or view.address is None:
                last = None
                await asyncio.sleep(AFTER_SILENCE_SECONDS)
                continue
            state = RuntimeState(self._http, view.address.state_url, view.address.client_token)
            look = await state.changed(last, LONG_POLL_SECONDS)
            if not isinstance(look, Present):
                if last is not None:
                    self._wake(key)
                last = None
                await asyncio.sleep(AFTER_SILENCE_SECONDS)
                continue
            if last is None or (look.state.instance, look.state.revision) != (last.instance, last.revision):
                self._wake(key)
            last = look.state

    async def _dashboard(self, key: ObjectKey) -> None:
        while view := self._controller.views.get(key):
            answers = await self._answers(view)
            seen = self._controller.views.get(key)
            # Compared with what the cluster's last look saw, not with the last answer here: between two of them it may have changed twice.
            if answers is not None and seen is not None and answers != seen.dashboard_answers:
                self._wake(key)
            await asyncio.sleep(max(DASHBOARD_SECONDS, len(self._controller.views) / DASHBOARDS_PER_SECOND))

    async def _answers(self, view: ClusterView) -> bool | None:
        if not view.head_running or view.address is None:
            return None
        rest = RayRest(self._http, view.address.dashboard_url, view.address.ray_token)
        return isinstance(await rest.version(), Present)
