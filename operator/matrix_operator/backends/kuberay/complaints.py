"""The events of pods that hang before their containers (mounts.py): asked for seldom, of one pod of a cluster at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay.mounts import hangs, latest
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.paths import collection
from matrix_operator.backends.kuberay.reading import name_of
from matrix_store.errors import StoreError
from matrix_store.kubernetes.api import Api

log = logging.getLogger(__name__)

AGAIN = timedelta(seconds=15)
"""Between two times that one pod's events are asked for."""
APART = timedelta(seconds=0.5)
"""Between two times that any are."""


@dataclass
class _Asked:
    at: datetime
    event: Object | None


@dataclass
class Complaints:
    """The last thing that was complained of for each pod that hangs."""

    api: Api
    _asked: dict[str, dict[str, _Asked]] = field(default_factory=dict)
    """By the uids of cluster and pod."""
    _last: datetime | None = None

    async def of(self, cluster: MatrixCluster, pods: Iterable[Object], now: datetime) -> Mapping[str, Object]:
        """Events by the uid of their pod. Those of one pod are asked for, if it is time; when that fails, what is known stays."""
        hanging = {str(pod["metadata"]["uid"]): pod for pod in pods if hangs(pod, now)}
        if not hanging:
            self.forget(cluster)
            return {}
        known = self._asked.setdefault(cluster.metadata.uid, {})
        for uid in known.keys() - hanging.keys():
            del known[uid]
        due = [uid for uid in hanging if uid not in known or now - known[uid].at >= AGAIN]
        if due and (self._last is None or now - self._last >= APART):
            self._last = now
            uid = min(due, key=lambda uid: (uid in known, name_of(hanging[uid])))
            known[uid] = _Asked(now, await self._ask(hanging[uid], known[uid].event if uid in known else None))
        return {uid: asked.event for uid, asked in known.items() if asked.event is not None}

    def forget(self, cluster: MatrixCluster) -> None:
        """It has gone, or nothing of it hangs."""
        self._asked.pop(cluster.metadata.uid, None)

    async def _ask(self, pod: Object, before: Object | None) -> Object | None:
        metadata = pod["metadata"]
        selector = f"involvedObject.uid={metadata['uid']},type=Warning"
        try:
            events, _ = await self.api.list_all(collection("Event", metadata["namespace"]), fieldSelector=selector)
        except StoreError as error:
            log.info("what holds up pod %s can't be seen: %s", metadata["name"], error)
            return before
        return latest(events)
