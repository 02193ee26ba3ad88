"""What is wanted of each site, and what it last said. In memory alone: both sides say all of it again after each start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from matrix_operator.backends.slurm.sites import SiteReport, SiteSilence
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport, Hello


@dataclass(frozen=True)
class Bridge:
    """The bridge of a site, as it introduced itself."""

    host: str
    user: str
    instance: str
    version: str
    slurm_version: str

    @classmethod
    def of(cls, hello: Hello) -> Bridge:
        return cls(hello.host, hello.user, hello.instance, hello.bridge_version, hello.slurm_version)

    def __str__(self) -> str:
        return f"{self.user or '?'}@{self.host or '?'}"


@dataclass
class SiteBoard:
    """Of one site. Belongs to one event loop."""

    name: str
    clock: Callable[[], datetime]
    grace: timedelta
    """How long a report counts after the connection has gone: a bridge that is started again is back before that."""
    desired: dict[str, ClusterDesired] = field(default_factory=dict)
    reports: dict[str, SiteReport] = field(default_factory=dict)
    """Of the last report: a cluster that it did not name is not known of."""
    bridge: Bridge | None = None
    """That is connected now."""
    heard_at: datetime | None = None
    """Of whichever bridge."""
    reported: bool = False
    """The bridge that is connected has reported once."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something new is wanted."""

    def __post_init__(self) -> None:
        self._since = self.clock()
        self._last: Bridge | None = None
        self._revisions: dict[str, int] = {}

    def begin(self) -> None:
        """From now on a bridge may come."""
        self._since = self.clock()

    # --- from above ---

    def want(self, desired: ClusterDesired) -> None:
        if self.desired.get(desired.uid) != desired:
            self.desired[desired.uid] = desired
            self.changed.set()

    def forget(self, uid: str) -> None:
        for known in (self.desired, self.reports, self._revisions):
            known.pop(uid, None)

    def report(self, uid: str) -> SiteReport | SiteSilence:
        if self._silent:
            return SiteSilence(self._absence(), listening=False)
        return self.reports.get(uid) or SiteSilence(f"site {self.name} has not reported of it yet", listening=self.reported)

    def pulse(self, uid: str) -> Hashable:
        return self._silent, self.reported, self._revisions.get(uid)

    # --- from the bridge ---

    def attach(self, bridge: Bridge) -> None:
        self.bridge, self._last, self.reported = bridge, bridge, False
        self._since = self.clock()
        self.heard()

    def detach(self) -> None:
        self.bridge, self.reported = None, False
        self._since = self.clock()

    def heard(self) -> None:
        self.heard_at = self.clock()

    def take(self, clusters: Iterable[ClusterReport]) -> None:
        """A whole report."""
        self.heard()
        self.reported = True
        now = self.clock()
        former, self.reports = self.reports, {cluster.uid: SiteReport(now, cluster) for cluster in clusters}
        for uid in former.keys() | self.reports.keys():
            if _said(former.get(uid)) != _said(self.reports.get(uid)):
                self._revisions[uid] = self._revisions.get(uid, 0) + 1
        self._revisions = {uid: count for uid, count in self._revisions.items() if uid in self.reports or uid in self.desired}

    @property
    def age(self) -> float | None:
        """Seconds since the site was last heard; None if it never was."""
        return None if self.heard_at is None else (self.clock() - self.heard_at).total_seconds()

    @property
    def _silent(self) -> bool:
        """No bridge is there, and the last one has been away for longer than a restart takes."""
        return self.bridge is None and (self.heard_at is None or self.clock() - self.heard_at > self.grace)

    def _absence(self) -> str:
        since = f"since {self._since:%Y-%m-%d %H:%M:%S} UTC"
        if self._last is None:
            return f"no bridge of site {self.name} has come {since}, when this hub began; start it there with `matrix bridge run`"
        return f"the bridge of site {self.name} ({self._last}) is not connected {since}; see `matrix bridge status` there"


def _said(found: SiteReport | None) -> bytes:
    """Without the time of the look, which moves all the time."""
    if found is None:
        return b""
    copy = ClusterReport()
    copy.CopyFrom(found.report)
    copy.ClearField("looked_at")
    return copy.SerializeToString(deterministic=True)
