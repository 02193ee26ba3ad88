"""The engine on Kubernetes: objects from the API server, clusters by KubeRay, one of several processes acting.

    lease  --held-->  Engine (queues, reconcilers)  <--changes--  KopfFeed (kopf: list, watch)
                            |                                        both warm in those that stand by
                      KubeRayBackend (its own watches)

The process may be killed anywhere: what runs goes on running, and the next one takes it over. It ends when it is told to (SIGTERM,
SIGINT), when another has taken its lease, and when a part of it has died that nothing here starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matrix_crds.cluster import AllocationKind
from matrix_crds.on_kubernetes import OPERATOR
from matrix_operator.api_transport import transport
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.kuberay.backend import KubeRayBackend
from matrix_operator.backends.kuberay.reach import Inside, Reach, ThroughApiServer
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from matrix_operator.backends.port import ClusterBackend
from matrix_operator.engines.health import Contact, Health, Limits, hears, holds, moves
from matrix_operator.engines.health_server import Address, HealthServer
from matrix_operator.engines.kopf_feed import KopfFeed
from matrix_operator.engines.kopf_login import KopfLogin
from matrix_operator.engines.kubernetes_preflight import check
from matrix_operator.engines.lease import Lease, Timing
from matrix_operator.engines.loop import WORKERS, Engine
from matrix_operator.engines.process import stop_on_signals
from matrix_operator.http import EitherHttp, Http
from matrix_operator.hub.settings import HubSettings
from matrix_operator.metrics import OperatorMetrics
from matrix_operator.rbac import Place
from matrix_operator.reconcile.steps import StepHook, no_hook
from matrix_operator.tasks import first_to_end
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import CONNECTIONS, Connection, connect, is_inside
from matrix_store.kubernetes.store import KubernetesStore

if TYPE_CHECKING:
    from matrix_operator.engines.kubernetes_sites import KubernetesSites

log = logging.getLogger(__name__)

ANY_PORT = Address("127.0.0.1", 0)
WATCH_OVER_SECONDS = 1.0
WATCHES = 4
"""Of the backend, in each namespace."""
CLUSTERS_OUTSIDE = 256
"""Connections of an operator outside of the cluster: it holds one for each MatrixCluster, over which it hears of replicas."""


@dataclass(frozen=True)
class Options:
    """How one process is to run."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    """Those that are watched; none: all."""
    lease_name: str = OPERATOR
    lease_namespace: str | None = None
    """Default: the operator's own, which is that of its service account, or of the kubeconfig's context."""
    health: Address = ANY_PORT
    metrics: Address = ANY_PORT
    hub: HubSettings | None = None
    """Where bridges of Slurm sites dial in; None: there is no backend `slurm`."""
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)

    @property
    def inside(self) -> bool:
        """In a pod of the cluster that it works on."""
        return self.kubeconfig is None and self.context is None and is_inside()


@dataclass(frozen=True)
class Carrier:
    """A backend, with what runs beside it."""

    backend: ClusterBackend
    http: Http
    run: Callable[[], Coroutine[Any, Any, None]]
    """Until cancelled."""
    age: Callable[[], float]
    """Seconds since the quietest of its watches was answered."""
    complete: Callable[[], bool]
    """All of its watches have told what there is."""
    proxied: bool = False
    """It reaches the clusters through the API server."""


CarrierFactory = Callable[[Api, Connection, Options], Carrier]


def kuberay(settings: KubeRaySettings) -> CarrierFactory:
    """The real one."""

    def make(api: Api, connection: Connection, options: Options) -> Carrier:
        reach: Reach = Inside() if options.inside else ThroughApiServer(connect(options.context, options.kubeconfig, CLUSTERS_OUTSIDE))
        backend = KubeRayBackend(api, settings, reach, options.namespaces)
        return Carrier(backend, reach.http, backend.run, lambda: backend.age, lambda: backend.complete, not options.inside)

    return make


async def run(options: Options, carrier: CarrierFactory, hook: StepHook = no_hook) -> None:
    """Until it is told to stop. Raises StoreError when it can't begin, LeaseLost, ForeignFault when kopf has died, OSError when a port
    can't be had."""
    stop = stop_on_signals()
    metrics = OperatorMetrics()
    health = Health(options.limits)
    server = HealthServer(options.health, health)
    try:
        port = metrics.serve(options.metrics.port, options.metrics.host)
        log.info("health on port %d, metrics on port %d", server.port, port)
        async with _beside(health.run()):
            await _Process(options, carrier, hook, health, metrics).run(stop)
    finally:
        server.close()


class _Process:
    """The parts, put together."""

    def __init__(self, options: Options, carrier: CarrierFactory, hook: StepHook, health: Health, metrics: OperatorMetrics) -> None:
        self._options = options
        self._metrics = metrics
        self._contact = Contact()
        self._leads = asyncio.Event()
        # The election has connections of its own: it must not wait behind a hundred reconciles.
        self._election = connect(options.context, options.kubeconfig)
        self._work = connect(options.context, options.kubeconfig)
        self._election_api = Api(self._election, self._heard, transport=transport(self._election, CONNECTIONS))
        namespace = options.lease_namespace or self._election.namespace
        self._lease = Lease(self._election_api, namespace, options.lease_name, _identity(), options.timing)
        watches = WATCHES * max(1, len(options.namespaces))
        api = Api(self._work, metrics.heard, lambda: self._lease.held, transport(self._work, CONNECTIONS + watches))
        self._store = KubernetesStore(api)
        self._feed = KopfFeed(self._store, KopfLogin(self._work), tuple(WORKERS), options.namespaces)
        self._carrier = carrier(api, self._work, options)
        choices = {"kubernetes": BackendChoice("Kubernetes", AllocationKind.RAY_CLUSTER, self._carrier.backend)}
        self._sites: KubernetesSites | None = None
        if options.hub is not None:
            from matrix_operator.engines.kubernetes_sites import KubernetesSites, own_pod  # gRPC and cryptography take 20 MB

            self._sites = KubernetesSites(options.hub, metrics.registry, api, own_pod(os.environ) if options.inside else None)
            choices["slurm"] = self._sites.choice
        self._place = Place(options.namespaces, self._carrier.proxied, namespace, options.lease_name, hub=self._sites is not None)
        self._engine = Engine(
            self._store,
            Backends("kopf", "kubernetes", choices),
            metrics,
            hook,
            may_act=lambda: self._lease.held,
            changes=self._feed.changes(),
            keep_running=True,
            http=EitherHttp(self._carrier.http) if self._sites else self._carrier.http,
            leads=self._leads,
        )
        self._judge(health, options.limits)

    def _heard(self, method: str, code: str) -> None:
        self._metrics.heard(method, code)
        self._contact.heard(method, code)

    def _judge(self, health: Health, limits: Limits) -> None:
        """What has to move, and what has to be there."""
        health.live += [
            moves("kopf has not looked after one of its watches", lambda: self._feed.stillness, limits.watch),
            hears("a watch of kopf", lambda: self._feed.age, self._contact, limits.watch),
            hears("a watch of the backend", self._carrier.age, self._contact, limits.watch),
            moves("one reconcile has lasted", lambda: self._engine.longest, limits.reconcile),
            moves("objects are due and none was taken up", lambda: self._engine.stalled, limits.reconcile),
        ]
        health.ready += [
            lambda: self._feed.absent,
            holds("not all objects have been read", lambda: self._engine.synced),
            holds("not all of the backend's objects have been read", self._carrier.complete),
        ]

    async def run(self, stop: asyncio.Event) -> None:
        try:
            if await _unless(stop, check(self._election_api, self._place)):
                log.info("watches %s", ", ".join(self._options.namespaces) or "all namespaces")
                await first_to_end(self._engine.run(stop), self._carrier.run(), self._lead(), self._watch_over())
        finally:
            if self._sites is not None:
                await self._sites.stop()
            await self._store.close()  # which writes the last events, as only the holder of the lease may
            await self._lease.release()
            await self._election_api.close()

    async def _lead(self) -> None:
        """Stands by until the lease is ours, then keeps it."""
        await self._lease.acquire()
        await first_to_end(self._lease.hold(), self._act())

    async def _act(self) -> None:
        await self._feed.catch_up()  # with what the former holder has written last
        if self._sites is not None:
            await self._sites.lead(self._election_api, self._place.lease_namespace, self._place.lease_name)
        self._leads.set()
        await asyncio.Event().wait()

    async def _watch_over(self) -> None:
        """Shows what a scrape can't ask for by itself; and lets everything be looked at again when the lease was out of reach."""
        held = False
        while True:
            if self._lease.held and not held:
                self._engine.look_again()
            held = self._lease.held
            self._metrics.leader.set(held)
            self._metrics.watch_age.labels("objects").set(self._feed.age)
            self._metrics.watch_age.labels("backend").set(self._carrier.age())
            await asyncio.sleep(WATCH_OVER_SECONDS)


def _identity() -> str:
    """Of this process and no other, not even the one before it in the same pod. The host's name is the pod's."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work came to its end before `stop` was set. Raises what it raises."""
    await first_to_end(work, stop.wait())
    return not stop.is_set()


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
