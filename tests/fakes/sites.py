"""Sites in memory, for tests of what lies above their port: a site's bridge that answers what it is told, at once or when told to."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from matrix_operator.backends.slurm.sites import SiteRefusal, SiteReport, SiteSilence
from matrix_proto.bridge_pb2 import Address, ClusterDesired, ClusterReport, Node, Refusal, TunnelTarget

START = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SITE_ADDRESS = Address(
    host="10.0.0.1",
    dashboard_port=1,
    state_port=2,
    directory_port=3,
    gateway_port=4,
    model_cache_dir="/shared/models",
    secrets_dir="/shared/c/secrets",
)


def node(name: str, phase: Node.Phase = Node.RUNNING, message: str = "", **fields: object) -> Node:
    found = Node(name=name, phase=phase, message=message, job_id="7", host="n1", **fields)
    found.since.FromDatetime(START)
    return found


def answer(desired: ClusterDesired, presence: ClusterReport.Presence, **fields: object) -> ClusterReport:
    """What a site says that has heard exactly that."""
    report = ClusterReport(
        uid=desired.uid,
        namespace=desired.namespace,
        name=desired.name,
        generation=desired.generation,
        attempt=desired.attempt,
        phase=desired.phase,
        presence=presence,
        claimed=True,
        **fields,
    )
    report.looked_at.FromDatetime(START)
    return report


@dataclass
class FakeSites:
    """One site, `fair`. Set the fields to steer it; `told` has all that it was told, `forgotten` the uids."""

    urls: dict[TunnelTarget, str] = field(default_factory=dict)
    """host:port of each target of every cluster with a head."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    silence: str = ""
    """Not empty: nobody is there."""
    refusal: str = ""
    """Not empty: the site refuses what it is told, as Slurm or its profile would."""
    deaf: bool = False
    """It says nothing new."""
    blind: str = ""
    """Not empty: it could not look."""
    told: list[ClusterDesired] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    reports: dict[str, SiteReport] = field(default_factory=dict)

    def want(self, site: str, desired: ClusterDesired) -> None:
        if site != "fair":
            raise SiteRefusal(f"no site {site!r}")
        self.told.append(desired)
        if not self.deaf and not self.silence:
            self.reports[desired.uid] = SiteReport(self.clock(), self._answer(desired))

    def forget(self, site: str, uid: str) -> None:
        self.forgotten.append(uid)
        self.reports.pop(uid, None)

    def report(self, site: str, uid: str) -> SiteReport | SiteSilence:
        if site != "fair" or self.silence:
            return SiteSilence(self.silence or f"no site {site!r}", listening=False)
        return self.reports.get(uid) or SiteSilence("it has not reported of it yet")

    def pulse(self, site: str, uid: str) -> Hashable:
        found = self.reports.get(uid)
        return self.silence, found.report.SerializeToString(deterministic=True) if found else None

    async def reach(self, site: str, uid: str, target: TunnelTarget) -> str | None:
        found = self.reports.get(uid)
        return self.urls.get(target) if found is not None and found.report.HasField("address") else None

    def _answer(self, desired: ClusterDesired) -> ClusterReport:
        if self.blind:
            return answer(desired, ClusterReport.UNKNOWN, message=self.blind)
        if self.refusal:
            return answer(desired, ClusterReport.ABSENT, refusal=Refusal(reason="InvalidSpec", message=self.refusal))
        if desired.phase == ClusterDesired.DELETE:
            return answer(desired, ClusterReport.ABSENT)
        return answer(desired, ClusterReport.PRESENT, head=node("head"), address=SITE_ADDRESS, template_hash="by-the-site")
