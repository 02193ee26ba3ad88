"""MatrixCluster: one look, one decision, its steps, one status. The pure parts are in cluster_decision.py and cluster_summary.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from matrix_crds.cluster import MatrixCluster, MatrixClusterStatus
from matrix_crds.constants import FINALIZER
from matrix_crds.deployment import ModelDeployment
from matrix_crds.errors import ManifestError
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.port import BackendRefusal, ClusterBackend, RemovalState
from matrix_operator.errors import ForeignFault, ServeRejected
from matrix_operator.http import Http
from matrix_operator.looks import Unknown
from matrix_operator.metrics import ControllerMetrics
from matrix_operator.ray_rest import RayRest
from matrix_operator.reconcile import cluster_decision, cluster_summary
from matrix_operator.reconcile.cache import ObjectCache
from matrix_operator.reconcile.cluster_summary import ClusterOutcome
from matrix_operator.reconcile.conditions import TRUE
from matrix_operator.reconcile.pace import AGAIN, DEPLOYING, REFUSED, SETTLING, STARTING, STEADY
from matrix_operator.reconcile.reading import read
from matrix_operator.reconcile.serve_apply import apply_serve
from matrix_operator.reconcile.status_writer import StatusWriter
from matrix_operator.reconcile.steps import (
    AddFinalizer,
    Ensure,
    LetGo,
    PutServe,
    RecordAllocation,
    ReleaseFinalizer,
    Remove,
    Step,
    StepHook,
)
from matrix_operator.reconcile.view import ClusterView, RayLooks
from matrix_operator.runtime_state import RuntimeState
from matrix_store.port import Store, StoredObject

log = logging.getLogger(__name__)

REJECTION_LIFETIME = timedelta(minutes=5)
"""After this an entry that Serve refused is tried again, as it stands."""


@dataclass(frozen=True)
class Look:
    """What a reconcile brought."""

    after: float
    """Seconds until the next one."""
    view: ClusterView | None = None
    """What was seen, with the status as written; None once the cluster is let go, or when it can't be judged."""
    unjudged: str = ""
    """Why this engine can't judge it, and what to do."""
    fault: str = ""
    """A step outside failed: try again with backoff."""


class ClusterReconciler:
    """Reconciles clusters. `may_act` is asked before every step: a controller that may have lost its lock does nothing."""

    def __init__(
        self,
        store: Store,
        cache: ObjectCache,
        backends: Backends,
        http: Http,
        metrics: ControllerMetrics,
        writer: StatusWriter,
        clock: Callable[[], datetime],
        hook: StepHook,
        may_act: Callable[[], bool],
    ) -> None:
        self._store = store
        self._cache = cache
        self._backends = backends
        self._http = http
        self._metrics = metrics
        self._writer = writer
        self._clock = clock
        self._hook = hook
        self._may_act = may_act
        self._rejections: dict[str, tuple[str, datetime]] = {}

    async def reconcile(self, stored: StoredObject, cluster: MatrixCluster) -> Look:
        """Raises StoreError."""
        choice, made = self._backends.choose(cluster), cluster.status.allocation
        if choice is None:
            return await self._unable(stored, self._backends.remedy)
        if made is not None and made.kind is not choice.kind:  # here it would be absent, and not be gone
            why = f"it runs as {made.kind}, and this engine would look for {choice.kind}; what made it has to go on with it"
            return await self._unable(stored, why)
        return await self._reconcile_with(choice, stored, cluster)

    async def _unable(self, stored: StoredObject, why: str) -> Look:
        await self._writer.write_unable(stored, why)
        return Look(STEADY, unjudged=why)

    async def _reconcile_with(self, choice: BackendChoice, stored: StoredObject, cluster: MatrixCluster) -> Look:
        view = await self._observe(cluster, choice.backend)
        steps = cluster_decision.decide(view, choice.kind, self._clock())
        stored, outcome = await self._carry_out(stored, view, choice.backend, steps)
        if outcome.released:
            return Look(SETTLING)
        status = cluster_summary.summarise(view, outcome, choice.name, self._clock())
        status = await self._writer.write(stored, cluster.status, status)
        seen = view if status is cluster.status else view.with_cluster(cluster.model_copy(update={"status": status}))
        return Look(_pace(view, steps, outcome, status), seen, outcome.fault)

    # --- look ---

    async def _observe(self, cluster: MatrixCluster, backend: ClusterBackend) -> ClusterView:
        look = await backend.observe(cluster)  # first: it may learn what the address needs
        address, layout = await backend.address(cluster), await backend.layout(cluster)
        deployments, unreadable = self._deployments_of(cluster)
        view = ClusterView(
            cluster=cluster,
            backend=look,
            allocation_name=backend.allocation_name(cluster),
            template_hash=backend.template_hash(cluster),
            address=address,
            layout=layout,
            deployments=deployments,
            unreadable=unreadable,
            rejections=self._current_rejections(),
        )
        if cluster.deleting or not view.head_running or address is None:
            return view
        rest = RayRest(self._http, address.dashboard_url, address.ray_token)
        state = RuntimeState(self._http, address.state_url, address.client_token)
        version, runtime = await asyncio.gather(rest.version(), state.look())
        if isinstance(version, Unknown):  # asked for more, a frozen dashboard would only be waited for longer
            return view.with_ray(RayLooks(version, version, version, runtime))
        nodes, serve = await asyncio.gather(rest.nodes(), rest.serve())
        return view.with_ray(RayLooks(version, nodes, serve, runtime))

    def _deployments_of(self, cluster: MatrixCluster) -> tuple[tuple[ModelDeployment, ...], frozenset[str]]:
        """Those that parse, and the names of those that do not."""
        readable: list[ModelDeployment] = []
        unreadable: set[str] = set()
        for stored in self._cache.deployments_of(cluster.key):
            if stored.deleting:
                continue
            try:
                resource = read(stored)
            except ManifestError:
                unreadable.add(stored.key.name)
                continue
            assert isinstance(resource, ModelDeployment)
            readable.append(resource)
        return tuple(readable), frozenset(unreadable)

    def _current_rejections(self) -> dict[str, str]:
        now = self._clock()
        self._rejections = {entry: (text, at) for entry, (text, at) in self._rejections.items() if now - at < REJECTION_LIFETIME}
        return {entry: text for entry, (text, _) in self._rejections.items()}

    # --- act ---

    async def _carry_out(
        self, stored: StoredObject, view: ClusterView, backend: ClusterBackend, steps: tuple[Step, ...]
    ) -> tuple[StoredObject, ClusterOutcome]:
        outcome = ClusterOutcome()
        for step in steps:
            try:
                stored, outcome = await self._carry_out_step(step, stored, view, backend, outcome)
                if outcome.removal and outcome.removal.state is RemovalState.GONE and view.cluster.deleting:
                    release = ReleaseFinalizer("nothing of the cluster would go with it")
                    stored, outcome = await self._carry_out_step(release, stored, view, backend, outcome)
            except BackendRefusal as refusal:
                self._metrics.errors.labels("MatrixCluster", "user").inc()
                return stored, outcome.with_refusal(refusal)
            except (ForeignFault, ServeRejected) as fault:
                return stored, outcome.with_fault(str(fault))
        return stored, outcome

    async def _carry_out_step(
        self, step: Step, stored: StoredObject, view: ClusterView, backend: ClusterBackend, outcome: ClusterOutcome
    ) -> tuple[StoredObject, ClusterOutcome]:
        if not self._may_act():
            raise ForeignFault("this controller can't prove that it still holds the lock of the store")
        await self._hook(step, "before")
        match step:
            case AddFinalizer():
                stored = await self._set_finalizers(stored, [*stored.finalizers, FINALIZER]) or stored
            case RecordAllocation(allocation=allocation):
                outcome = outcome.with_allocation(allocation)  # part of the status that ends this look
            case Ensure(allocation=allocation):
                await backend.ensure(view.cluster, allocation)
            case PutServe(entries=entries):
                await self._put_serve(view, entries)
            case Remove():
                outcome = outcome.with_removal(await backend.remove(view.cluster))
            case LetGo():
                outcome = outcome.with_removal(await backend.let_go(view.cluster))
            case ReleaseFinalizer():
                await self._set_finalizers(stored, [name for name in stored.finalizers if name != FINALIZER])
                outcome = outcome.with_release()
        self._metrics.steps.labels(type(step).__name__).inc()
        if not isinstance(step, Ensure | Remove | LetGo):
            log.info("%s: %s: %s", stored.key, type(step).__name__, step.why)
        await self._hook(step, "after")
        return stored, outcome

    async def _set_finalizers(self, stored: StoredObject, finalizers: list[str]) -> StoredObject | None:
        changed = await self._store.set_finalizers(stored.key, finalizers, resource_version=stored.resource_version)
        if changed is not None:
            self._cache.wrote(changed)
        return changed

    async def _put_serve(self, view: ClusterView, entries: tuple[dict[str, object], ...]) -> None:
        assert view.address is not None
        rest = RayRest(self._http, view.address.dashboard_url, view.address.ray_token)
        for entry, text in (await apply_serve(rest, view.serve, entries)).items():
            self._rejections[entry] = (text, self._clock())


def _pace(view: ClusterView, steps: tuple[Step, ...], outcome: ClusterOutcome, status: MatrixClusterStatus) -> float:
    """Seconds until the next look, when nothing wakes the cluster before."""
    if outcome.removal and outcome.removal.state is not RemovalState.UNKNOWN:
        return STARTING
    if any(not isinstance(step, Ensure | Remove | LetGo) for step in steps):
        return AGAIN
    if outcome.refusal:
        return REFUSED
    if outcome.removal or isinstance(view.backend, Unknown):
        return SETTLING
    ready = status.condition("Ready")
    if ready is None or ready.status is not TRUE:
        return STARTING
    return DEPLOYING if _deploying(view) else STEADY


def _deploying(view: ClusterView) -> bool:
    """Something is on its way in Serve that the directory does not announce."""
    if view.serve is None:
        return True
    return any(app.status not in ("RUNNING", "DEPLOY_FAILED") for app in view.serve.applications.values())
