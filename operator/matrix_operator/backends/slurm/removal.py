"""How far a cluster's end is at its site. Pure."""

from __future__ import annotations

from datetime import datetime

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.port import Removal, RemovalState
from matrix_operator.backends.slurm.desired import answers
from matrix_operator.backends.slurm.observe import silent
from matrix_operator.backends.slurm.sites import SiteReport, SiteSilence
from matrix_operator.backends.slurm.template import slurm_of
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport


def removal(cluster: MatrixCluster, wish: ClusterDesired, found: SiteReport | SiteSilence, now: datetime) -> Removal:
    """Gone only when a fresh report confirms it, in answer to that wish; or when nothing was ever asked of the site."""
    site = slurm_of(cluster.spec).site
    if isinstance(found, SiteSilence):
        if cluster.status.allocation is None:
            return Removal(RemovalState.GONE)
        return Removal(RemovalState.UNKNOWN, f"{found.message}; it goes on once the site has answered")
    if silence := silent(site, found, now):
        return Removal(RemovalState.UNKNOWN, silence)
    report = found.report
    if not answers(report, wish):
        return Removal(RemovalState.GOING, f"site {site} is being told to end its jobs")
    if report.presence == ClusterReport.ABSENT:
        return Removal(RemovalState.GONE)
    if report.presence == ClusterReport.PRESENT:
        return Removal(RemovalState.GOING, report.message or f"site {site} ends its jobs")
    return Removal(RemovalState.UNKNOWN, f"site {site}: {report.message or 'it does not know what is left'}")
