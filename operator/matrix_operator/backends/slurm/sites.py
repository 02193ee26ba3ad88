"""The port of the sites: what the Slurm backend asks of whoever knows a site's bridge. The hub is one (the bridge dials in), a bridge in
the same process is another (on a login node without Kubernetes). Both speak in the messages of bridge.proto."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport, TunnelTarget


@dataclass(frozen=True)
class SiteReport:
    """What a site last said of a cluster."""

    received_at: datetime
    report: ClusterReport


@dataclass(frozen=True)
class SiteSilence:
    """Nothing is known of the cluster now. `message` says why: no such site, its bridge is not connected since ..., it has not
    reported of this cluster yet."""

    message: str
    listening: bool = True
    """The site reports, and this cluster is not among what it reported: it can be told what is wanted. False: nobody is there to tell."""


class SiteRefusal(Exception):
    """The site is known and may not be used for that cluster: a namespace that is not allowed, a site that nobody configured."""


class Sites(Protocol):
    def want(self, site: str, desired: ClusterDesired) -> None:
        """From now on the site is told so, again after each new connection. Returns at once. Raises SiteRefusal."""
        ...

    def forget(self, site: str, uid: str) -> None:
        """It is gone at the site: no more is said of it."""
        ...

    def report(self, site: str, uid: str) -> SiteReport | SiteSilence:
        """What is known now."""
        ...

    def pulse(self, site: str, uid: str) -> Hashable:
        """Changes with each report of that cluster that differs from the one before, and with the site's connection."""
        ...

    async def reach(self, site: str, uid: str, target: TunnelTarget) -> str | None:
        """host:port where this process reaches that server of the cluster's head; None while there is no head."""
        ...
