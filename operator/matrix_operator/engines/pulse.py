"""The pulse of the clusters: notices between two looks that something outside has changed, and wakes the object.

Three cheap ways: the backend's own pulse (each second; no network), a long poll of the directory (answers when a replica comes, goes or
changes), and one small question to Ray's dashboard (each five seconds; it may hang while everything else runs).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping

from matrix_crds.cluster import MatrixCluster
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import Backends
from matrix_operator.backends.port import ClusterBackend
from matrix_operator.http import Http
from matrix_operator.looks import Present, Unknown
from matrix_operator.ray_rest import RayRest
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.runtime_state import RuntimeState
from matrix_operator.tasks import first_to_end
from matrix_proto.state import State

log = logging.getLogger(__name__)

BACKEND_SECONDS = 1.0
DASHBOARD_SECONDS = 5.0
DASHBOARDS_PER_SECOND = 20.0
"""With more than a hundred clusters each of them is asked less often."""
LONG_POLL_SECONDS = 30.0
AFTER_SILENCE_SECONDS = 1.0
WITHOUT_PAUSE = 100
"""Pulses that are felt before others get a turn."""


class Pulse:
    """Of the clusters that the controller has looked at: one task for all backends, one for all dashboards, and one for each
    directory, which holds a connection."""

    def __init__(self, views: Mapping[ObjectKey, ClusterView], backends: Backends, http: Http, wake: Callable[[ObjectKey], None]) -> None:
        """`views`: the last look at each cluster, as it is kept up to date by whoever looks."""
        self._views = views
        self._backends = backends
        self._http = http
        self._wake = wake
        self._felt: dict[ObjectKey, Hashable] = {}
        """What each backend's pulse was last."""
        self._listening: dict[ObjectKey, asyncio.Task[None]] = {}
        """To each directory."""
        self._asking: dict[ObjectKey, asyncio.Task[None]] = {}
        """Dashboards that have not answered yet."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await first_to_end(self._feel_backends(), self._ask_dashboards())
        finally:
            tasks = [*self._listening.values(), *self._asking.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _feel_backends(self) -> None:
        """All of them each second; and see to it that the directories of the same clusters are listened to."""
        while True:
            for key in [key for key in self._listening if key not in self._views]:
                self._listening.pop(key).cancel()
                self._felt.pop(key, None)
            for number, key in enumerate(list(self._views), 1):
                self._see_that_it_is_listened_to(key)
                await self._feel_backend(key)
                if number % WITHOUT_PAUSE == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(BACKEND_SECONDS)

    async def _feel_backend(self, key: ObjectKey) -> None:
        view = self._views.get(key)
        backend = self._backend_of(view.cluster) if view else None
        if view is None or backend is None:
            return
        try:
            felt = await backend.pulse(view.cluster)
        except Exception:
            log.exception("the pulse of %s can't be felt", key)
            return
        # What changed between a look that saw nothing and the first pulse would else be found at the next look, which may be far.
        if felt != self._felt[key] if key in self._felt else isinstance(view.backend, Unknown):
            self._wake(key)
        self._felt[key] = felt

    def _backend_of(self, cluster: MatrixCluster) -> ClusterBackend | None:
        choice = self._backends.choose(cluster)
        return choice.backend if choice else None

    def _see_that_it_is_listened_to(self, key: ObjectKey) -> None:
        task = self._listening.get(key)
        if task is not None and not task.done():
            return
        if task is not None and (error := task.exception()):
            log.error("listening to the directory of %s stopped and is started again: %s", key, error)
        self._listening[key] = asyncio.create_task(self._listen(key))

    async def _listen(self, key: ObjectKey) -> None:
        last: State | None = None
        while view := self._views.get(key):
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

    async def _ask_dashboards(self) -> None:
        """One after another, so that each is asked every DASHBOARD_SECONDS, or as often as there is time for."""
        while True:
            keys = list(self._views)
            pause = max(DASHBOARD_SECONDS / max(1, len(keys)), 1 / DASHBOARDS_PER_SECOND)
            for key in keys or (None,):
                if key is not None and key not in self._asking:
                    self._asking[key] = asyncio.create_task(self._ask_dashboard(key))
                await asyncio.sleep(pause)

    async def _ask_dashboard(self, key: ObjectKey) -> None:
        try:
            view = self._views.get(key)
            answers = await self._answers(view) if view else None
            seen = self._views.get(key)
            # Compared with what the cluster's last look saw, not with the last answer here: between two of them it may have changed twice.
            if answers is not None and seen is not None and answers != seen.dashboard_answers:
                self._wake(key)
        except Exception:
            log.exception("the dashboard of %s can't be asked", key)
        finally:
            del self._asking[key]

    async def _answers(self, view: ClusterView) -> bool | None:
        if not view.head_running or view.address is None:
            return None
        rest = RayRest(self._http, view.address.dashboard_url, view.address.ray_token)
        return isinstance(await rest.version(), Present)
