"""From what a site said of a cluster to a look at it. Pure.

Only a report that is fresh, and that answers what the site was told, can say that nothing is there. All else is unknown, or something on
its way.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from matrix_crds.cluster import Allocation, AllocationKind, MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_crds.slurm_template import slurm_template_hash
from matrix_operator.backends.port import BackendRefusal, NodePhase, NodeState, Observation
from matrix_operator.backends.slurm.desired import answers
from matrix_operator.backends.slurm.sites import SiteReport, SiteSilence
from matrix_operator.backends.slurm.template import slurm_of
from matrix_operator.looks import Absent, Look, Present, Unknown
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport, Node

HEAD = "head"
STALE = timedelta(seconds=30)
"""A site reports at least each 10 s (bridge.proto): one that has missed three is silent."""

_PHASES = {
    Node.STARTING: NodePhase.STARTING,
    Node.RUNNING: NodePhase.RUNNING,
    Node.RECOVERING: NodePhase.RECOVERING,
    Node.FAILED: NodePhase.FAILED,
}
"""A phase that a later bridge may have is something on its way: Starting."""


def look(
    cluster: MatrixCluster, name: str, told: ClusterDesired | None, found: SiteReport | SiteSilence, now: datetime
) -> Look[Observation]:
    """`told`: what the site was told last by this process; `name`: the allocation's."""
    site = slurm_of(cluster.spec).site
    if isinstance(found, SiteSilence):
        return _unheard(cluster, name, told, found, now)
    if silence := silent(site, found, now):
        return Unknown(silence)
    report = found.report
    if report.presence == ClusterReport.PRESENT:
        return Present(_observation(cluster, name, found))
    if report.presence != ClusterReport.ABSENT:
        return Unknown(f"site {site}: {report.message or 'it does not know what there is of the cluster'}")
    if told is not None and not answers(report, told):
        return Present(_asked(cluster, name, f"site {site} has been told of it", now))
    return Absent()


def silent(site: str, found: SiteReport, now: datetime) -> str:
    """Why a report is too old to go by; empty if it is not."""
    if now - found.received_at <= STALE:
        return ""
    when = f"{found.received_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"site {site} has reported nothing since {when}; look at its bridge with `matrix bridge status` there"


def refusal(report: ClusterReport) -> BackendRefusal | None:
    """What the site can't or won't do."""
    if not report.HasField("refusal"):
        return None
    return BackendRefusal(_reason(report.refusal.reason) or ClusterReason.INVALID_SPEC, report.refusal.message)


def _unheard(cluster: MatrixCluster, name: str, told: ClusterDesired | None, silence: SiteSilence, now: datetime) -> Look[Observation]:
    """A site that listens and was never told of the cluster has to be told; what it says then counts. Until it has said something,
    nothing is known."""
    if not silence.listening or told is not None:
        return Unknown(silence.message)
    if cluster.status.allocation is None:  # nothing was ever asked of any site
        return Absent()
    return Present(_asked(cluster, name, silence.message, now))


def _asked(cluster: MatrixCluster, name: str, message: str, now: datetime) -> Observation:
    """A cluster of which the site is to say something next."""
    phase = NodePhase.RECOVERING if cluster.status.ray else NodePhase.STARTING
    allocation = cluster.status.allocation or Allocation(kind=AllocationKind.SLURM_JOBS, name=name)
    return Observation(allocation, NodeState(HEAD, phase, allocation.started_at or now, message=message))


def _observation(cluster: MatrixCluster, name: str, found: SiteReport) -> Observation:
    report = found.report
    allocation = Allocation(
        kind=AllocationKind.SLURM_JOBS,
        name=name,
        attempt=report.attempt,
        template_hash=report.template_hash,
        started_at=_moment(report.started_at),
        expires_at=_moment(report.expires_at),
    )
    wanted = cluster.status.allocation
    since = allocation.started_at or found.received_at
    if wanted is not None and report.attempt < wanted.attempt:
        message = f"the jobs of attempt {report.attempt} are still there; those of attempt {wanted.attempt} come after them"
        return Observation(allocation, NodeState(HEAD, NodePhase.RECOVERING, since, message=message))
    if not report.HasField("head"):
        return Observation(allocation, NodeState(HEAD, NodePhase.STARTING, since, message="it has no job yet"))
    workers = tuple(_node(worker, found) for worker in report.workers)
    held_back = report.template_hash not in ("", slurm_template_hash(cluster.spec))
    return Observation(allocation, _node(report.head, found), workers, len(workers) if held_back else None)


def _node(node: Node, found: SiteReport) -> NodeState:
    since = _moment(node.since) or found.received_at
    job = f"job {node.job_id}" if node.job_id else ""
    return NodeState(node.name or HEAD, _PHASES.get(node.phase, NodePhase.STARTING), since, _reason(node.reason), node.message or job)


def _reason(text: str) -> ClusterReason | None:
    """None for one that this version does not know."""
    return ClusterReason(text) if text in ClusterReason._value2member_map_ else None


def _moment(time: Timestamp) -> datetime | None:
    """None for one that is not set."""
    return time.ToDatetime(UTC) if time.seconds else None
