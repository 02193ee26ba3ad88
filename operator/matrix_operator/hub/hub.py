"""The hub, put together: the port of the sites (backends.slurm.sites) over the bridges that dial in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta
from functools import partial

from prometheus_client import CollectorRegistry

from matrix_operator.backends.slurm.sites import SiteRefusal, SiteReport, SiteSilence
from matrix_operator.hub.board import SiteBoard
from matrix_operator.hub.certificates import CertificateFiles
from matrix_operator.hub.control import Control
from matrix_operator.hub.metrics import HubMetrics
from matrix_operator.hub.server import HubServer
from matrix_operator.hub.settings import HubSettings
from matrix_operator.hub.sockets import connections
from matrix_operator.hub.tunnels import Tunnels
from matrix_proto.bridge_pb2 import ClusterDesired, TunnelTarget

log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Hub:
    """Sites, for the backend. Belongs to one event loop. It listens from `start` on: one that stands by does not, so that a bridge which
    dials a Service in front of several comes to the one that acts."""

    def __init__(self, settings: HubSettings, registry: CollectorRegistry, clock: Callable[[], datetime] = _now) -> None:
        """Raises CertificateProblem."""
        self._settings = settings
        self._metrics = HubMetrics(registry)
        grace = timedelta(seconds=settings.limits.report_seconds)
        self._boards = {name: SiteBoard(name, clock, grace) for name in settings.sites}
        self._files = CertificateFiles(settings.certificate, settings.key)
        self._clock = clock
        self._tunnels = Tunnels(settings.tunnel_address, settings.limits, self._metrics, lambda site, order: self._control.ask(site, order))
        self._control = Control(self._boards, settings.limits, self._tunnels.refused, self._tunnels.bridge_gone)
        self._server = HubServer(settings, self._files, self._control, self._tunnels, self._metrics)
        self._measure()

    async def start(self, hub_id: str) -> int:
        """Returns the port. `hub_id` is that of the installation: each site belongs to one. Raises OSError."""
        self._control.hub_id = hub_id
        for board in self._boards.values():
            board.begin()
        port = await self._server.start()
        self._metrics.connections.set_function(lambda: connections(port))
        log.info("the hub listens on port %d for %s", port, ", ".join(sorted(self._boards)) or "no site")
        return port

    async def stop(self) -> None:
        self._tunnels.close_all()
        await self._server.stop()

    # --- Sites ---

    def want(self, site: str, desired: ClusterDesired) -> None:
        """A namespace that may not use the site can still have deleted there what it has."""
        settings = self._settings.sites.get(site)
        if settings is None:
            raise SiteRefusal(self._unknown(site))
        if desired.phase == ClusterDesired.PRESENT and not settings.allows(desired.namespace):
            field = f"hub.sites.{site}.namespaces"
            raise SiteRefusal(f"namespace {desired.namespace} may not use site {site}; whoever runs the operator can add it to {field}")
        self._boards[site].want(desired)

    def forget(self, site: str, uid: str) -> None:
        self._tunnels.close(uid)
        if site in self._boards:
            self._boards[site].forget(uid)

    def report(self, site: str, uid: str) -> SiteReport | SiteSilence:
        board = self._boards.get(site)
        return board.report(uid) if board else SiteSilence(self._unknown(site), listening=False)

    def pulse(self, site: str, uid: str) -> Hashable:
        board = self._boards.get(site)
        return board.pulse(uid) if board else None

    async def reach(self, site: str, uid: str, target: TunnelTarget) -> str | None:
        """A listener stays for as long as the cluster is known: what a silent site has is reached again at the same address."""
        board = self._boards.get(site)
        if board is None:
            return None
        found = board.reports.get(uid)
        if found is None:
            return self._tunnels.address((site, uid, target))
        return self._tunnels.listen((site, uid, target)) if found.report.HasField("address") else None

    def _unknown(self, site: str) -> str:
        known = ", ".join(sorted(self._boards)) or "none"
        return f"no site {site} is known to this operator's hub (there is {known}); choose one of these, or add it to hub.sites"

    def _measure(self) -> None:
        """What is asked for at each scrape."""
        self._metrics.expiry.set_function(lambda: (self._files.pair.expires_at - self._clock()).total_seconds())
        for name, board in self._boards.items():
            self._metrics.connected.labels(name).set_function(partial(_connected, board))
            self._metrics.report_age.labels(name).set_function(partial(_age, board))


def _connected(board: SiteBoard) -> float:
    return float(board.bridge is not None)


def _age(board: SiteBoard) -> float:
    return -1.0 if board.age is None else board.age
