"""The directory's memory: which replicas there are and how they do. No I/O; time comes from a clock that is handed in.

Soft state: it is rebuilt from the replicas' own reports within two heartbeats of a restart. Silence is not absence: after three missed
reports a replica is suspect (probe before use), sooner if nothing listens at its address any more, and only after thirty seconds of
silence it is forgotten. One that drains and falls silent has ended, and takes no request anyway: it is forgotten at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matrix_proto.state import SUSPECT_AFTER_SECONDS, Gateway, GatewayView, Load, Replica, ReplicaState, ReplicaView
from matrix_runtime.system.gateway_record import GatewayRecord

FORGET_AFTER_SECONDS = 30.0
LATE_SECONDS = 1.5
"""A report this late makes one ask whether the replica's port is still open."""
KEPT_FAILURES = 3
"""Failed starts that are remembered for each application."""
FORGET_FAILURE_SECONDS = 3600.0
"""Longer than the longest pause before another start (ten minutes): what is older is of an application that is gone."""
STALL_SECONDS = 2.0
"""A longer pause between two sweeps means that this process stood still: the silence was its own."""

_Key = tuple[str, str]


@dataclass
class _Record:
    replica: Replica
    heard: float
    suspect: bool = False


class Directory:
    """Replicas by application and id. `revision` goes up whenever a reader would see a difference (heartbeats and load apart)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, first_revision: int = 1) -> None:
        self._clock = clock
        self._records: dict[_Key, _Record] = {}
        self._gateway: GatewayRecord | None = None
        self._swept = clock()
        self.revision = first_revision

    def report(self, replica: Replica) -> None:
        """Takes what a replica says about itself. Failed is its last word: what was sent before and arrives later is ignored."""
        key = (replica.application, replica.id)
        known = self._records.get(key)
        if known is not None and _failed(known.replica) and not _failed(replica):
            return
        self._records[key] = _Record(replica, self._clock())
        if known is None or known.suspect or _visible(known.replica) != _visible(replica):
            self.revision += 1
        self._forget_failures(replica)

    def report_gateway(self, gateway: Gateway) -> None:
        """Takes what the gateway says about itself."""
        before = self._gateway
        self._gateway = GatewayRecord(gateway, self._clock())
        if before is None or before.visible() != self._gateway.visible():
            self.revision += 1

    def sweep(self) -> None:
        """Notices silence; to be called about twice a second."""
        now = self._clock()
        stalled = now - self._swept if now - self._swept > STALL_SECONDS else 0.0
        self._swept = now
        if self._gateway is not None and self._gateway.sweep(now, stalled):
            self.revision += 1
        for key, record in list(self._records.items()):
            record.heard = min(now, record.heard + stalled)
            self._judge(key, record, now - record.heard)

    def view(self) -> tuple[ReplicaView, ...]:
        """All replicas, in a stable order."""
        now = self._clock()
        return tuple(_view(self._records[key], now) for key in sorted(self._records))

    def gateway(self) -> GatewayView | None:
        """The gateway; None until it has reported. A silent one is not ready, but never gone."""
        return None if self._gateway is None else self._gateway.view(self._clock())

    def known(self) -> Iterator[tuple[Replica, bool]]:
        """All replicas, each with whether it is suspect."""
        return ((record.replica, record.suspect) for record in self._records.values())

    def late(self) -> tuple[Replica, ...]:
        """Those that serve, have not reported when they should have, and are not suspect yet."""
        now = self._clock()
        records = (record for record in self._records.values() if record.replica.http_url and not record.suspect)
        return tuple(record.replica for record in records if now - record.heard > LATE_SECONDS)

    def refused(self, replica: Replica) -> None:
        """Nothing listens at the replica's address: it is suspect, or has ended if it was draining, unless it has reported meanwhile."""
        key = (replica.application, replica.id)
        record = self._records.get(key)
        if record is None or record.suspect or self._clock() - record.heard <= LATE_SECONDS:
            return
        if record.replica.state is ReplicaState.DRAINING:
            del self._records[key]
        else:
            record.suspect = True
        self.revision += 1

    def _judge(self, key: _Key, record: _Record, silence: float) -> None:
        failed = _failed(record.replica)
        ended = record.replica.state is ReplicaState.DRAINING and silence > SUSPECT_AFTER_SECONDS
        if ended or silence > (FORGET_FAILURE_SECONDS if failed else FORGET_AFTER_SECONDS):
            del self._records[key]
            self.revision += 1
        elif silence > SUSPECT_AFTER_SECONDS and not record.suspect and not failed:
            record.suspect = True
            self.revision += 1

    def _forget_failures(self, news: Replica) -> None:
        failures = [(key, r.replica) for key, r in self._records.items() if key[0] == news.application and _failed(r.replica)]
        failures.sort(key=lambda entry: entry[1].since)  # attempts begin anew with another deployment of the same name
        stale = [key for key, failed in failures if _supersedes(news, failed)]
        surplus = [key for key, _ in failures[:-KEPT_FAILURES]]
        for key in {*stale, *surplus}:
            del self._records[key]
            self.revision += 1


def _failed(replica: Replica) -> bool:
    return replica.state is ReplicaState.FAILED


def _supersedes(news: Replica, failed: Replica) -> bool:
    """A newer attempt does, and so does a success that came after the failure."""
    return news.attempt > failed.attempt or (news.state is ReplicaState.READY and news.since > failed.since)


def _visible(replica: Replica) -> Replica:
    return replica.model_copy(update={"load": Load()})


def _view(record: _Record, now: float) -> ReplicaView:
    return ReplicaView(**dict(record.replica), heartbeat_age=round(now - record.heard, 3), suspect=record.suspect)
