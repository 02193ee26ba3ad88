"""The reconcilers: look, decide, act, write the status. The same for every engine.

    read the object -> observe -> decide (pure) -> carry out -> summarise (pure) -> write the status, whole, only when it changed

Errors have three fates. A foreign fault is tried again with backoff. What the user must change becomes a condition and is looked
at again at the slow pace. A bug is logged with its trace, shown as Ready=Unknown/InternalError, and the loop lives on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from matrix_crds.base import Condition, Resource, Status
from matrix_crds.cluster import AllocationKind, MatrixCluster, MatrixClusterStatus
from matrix_crds.constants import FINALIZER
from matrix_crds.deployment import ModelDeployment, ModelDeploymentStatus
from matrix_crds.errors import ManifestError
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.port import BackendRefusal, ClusterBackend, RemovalState
from matrix_operator.errors import ForeignFault, ServeRejected
from matrix_operator.http import HttpClient
from matrix_operator.looks import Unknown
from matrix_operator.metrics import ControllerMetrics
from matrix_operator.ray_rest import RayRest
from matrix_operator.reconcile import cluster_decision, cluster_summary, deployment_summary
from matrix_operator.reconcile.cache import ObjectCache
from matrix_operator.reconcile.cluster_summary import ClusterOutcome
from matrix_operator.reconcile.conditions import TRUE, transitions
from matrix_operator.reconcile.serve_apply import apply_serve
from matrix_operator.reconcile.steps import AddFinalizer, Ensure, PutServe, RecordAllocation, ReleaseFinalizer, Remove, Step
from matrix_operator.reconcile.view import ClusterView, RayLooks
from matrix_operator.runtime_state import RuntimeState
from matrix_store.errors import Conflict, NotFound
from matrix_store.port import Event, EventType, Store, StoredObject

log = logging.getLogger(__name__)

STARTING_SECONDS = 0.3  # nodes come up or go, and nobody announces it
DEPLOYING_SECONDS = 1.0  # Serve deploys: the directory announces the replicas' progress, not Serve's own state
SETTLING_SECONDS = 30.0
STEADY_SECONDS = 60.0
REJECTION_LIFETIME = timedelta(minutes=5)

_QUIET = {"Pending", "Starting", "Deleting", "Suspended", "ScaledToZero", "RollingOut", "Downloading", "Converting", "Loading"}
_QUIET |= {"HeadNotReady", "WorkersNotReady", "ServeNotReady", "ClusterNotReady"}
"""Reasons that are a part of normal life: their events are not warnings."""

StepHook = Callable[[Step, str], Awaitable[None]]
"""Called before ("before") and after ("after") each step's effect; the fault tests kill the controller in it."""


async def no_hook(step: Step, moment: str) -> None:
    """The hook of a controller that is not being tested."""


@dataclass(frozen=True)
class BackendChoice:
    """A backend and its names: `name` as in the status, `kind` as in status.allocation."""

    name: str
    kind: AllocationKind
    backend: ClusterBackend


@dataclass(frozen=True)
class Backends:
    """What this engine can run. `default` is used when spec.backend is absent."""

    engine: str
    default: str
    choices: dict[str, BackendChoice]

    def choose(self, cluster: MatrixCluster) -> BackendChoice | None:
        """None when the spec names one that this engine does not have."""
        asked = cluster.spec.backend
        named = [name for name in ("local", "kubernetes", "slurm") if asked is not None and getattr(asked, name) is not None]
        return self.choices.get(named[0] if named else self.default)


class Controller:
    """Reconciles both kinds. One instance per process; `wake` asks for another look at an object."""

    def __init__(
        self,
        store: Store,
        cache: ObjectCache,
        backends: Backends,
        http: HttpClient,
        metrics: ControllerMetrics,
        wake: Callable[[ObjectKey], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        hook: StepHook = no_hook,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._cache = cache
        self._backends = backends
        self._http = http
        self._metrics = metrics
        self._wake = wake
        self._clock = clock
        self._hook = hook
        self._may_act = may_act
        self._views: dict[ObjectKey, ClusterView] = {}
        self._rejections: dict[str, tuple[str, datetime]] = {}

    @property
    def views(self) -> dict[ObjectKey, ClusterView]:
        """The last look at each cluster."""
        return self._views

    async def reconcile(self, key: ObjectKey) -> float | None:
        """One look at one object. Returns the seconds until the next one, None when the object is gone. Raises ForeignFault."""
        stored = self._cache.get(key)
        if stored is None:
            self._views.pop(key, None)
            return None
        try:
            resource = stored.resource
        except ManifestError as error:
            return await self._unreadable(stored, str(error))
        try:
            if isinstance(resource, MatrixCluster):
                return await self._reconcile_cluster(stored, resource)
            assert isinstance(resource, ModelDeployment)
            return await self._reconcile_deployment(stored, resource)
        except (ForeignFault, Conflict, NotFound):
            raise
        except Exception as error:
            log.exception("bug while reconciling %s", key)
            self._metrics.errors.labels(key.kind, "bug").inc()
            await self._internal_error(stored, resource, error)
            return SETTLING_SECONDS

    # --- MatrixCluster ---

    async def _reconcile_cluster(self, stored: StoredObject, cluster: MatrixCluster) -> float | None:
        choice = self._backends.choose(cluster)
        if choice is None:
            return await self._wrong_backend(stored, cluster)
        view = await self._observe(cluster, choice.backend)
        steps = cluster_decision.decide(view, choice.kind, self._clock())
        stored, outcome = await self._carry_out(stored, view, choice.backend, steps)
        if outcome.removal and outcome.removal.state is RemovalState.GONE and cluster.deleting:
            await self._release(stored, cluster)
            return None
        if isinstance(next(iter(steps), None), ReleaseFinalizer):
            await self._release(stored, cluster)
            return None
        status = cluster_summary.summarise(view, outcome, choice.name, self._clock())
        written = await self._write(stored, cluster.status, status)
        self._publish(cluster.model_copy(update={"status": status}), view)
        if outcome.fault:
            raise ForeignFault(outcome.fault)
        return self._cluster_pace(view, steps, outcome, written, status)

    async def _observe(self, cluster: MatrixCluster, backend: ClusterBackend) -> ClusterView:
        look, address, layout = await asyncio.gather(backend.observe(cluster), backend.address(cluster), backend.layout(cluster))
        deployments, unreadable = self._deployments_of(cluster)
        view = ClusterView(
            cluster=cluster,
            backend=look,
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
        version, nodes, serve, runtime = await asyncio.gather(rest.version(), rest.nodes(), rest.serve(), state.look())
        return view.with_ray(RayLooks(version, nodes, serve, runtime))

    def _deployments_of(self, cluster: MatrixCluster) -> tuple[tuple[ModelDeployment, ...], frozenset[str]]:
        readable: list[ModelDeployment] = []
        unreadable: set[str] = set()
        for stored in self._cache.deployments_of(cluster.key):
            if stored.deleting:
                continue
            try:
                resource = stored.resource
            except ManifestError:
                unreadable.add(stored.key.name)
                continue
            assert isinstance(resource, ModelDeployment)
            readable.append(resource)
        return tuple(readable), frozenset(unreadable)

    def _current_rejections(self) -> dict[str, str]:
        now = self._clock()
        self._rejections = {key: (text, at) for key, (text, at) in self._rejections.items() if now - at < REJECTION_LIFETIME}
        return {key: text for key, (text, _) in self._rejections.items()}

    async def _carry_out(
        self, stored: StoredObject, view: ClusterView, backend: ClusterBackend, steps: tuple[Step, ...]
    ) -> tuple[StoredObject, ClusterOutcome]:
        outcome = ClusterOutcome()
        for step in steps:
            if not self._may_act():
                return stored, outcome.with_fault("this controller can't prove that it still holds the lock of the store")
            await self._hook(step, "before")
            try:
                stored, outcome = await self._carry_out_step(step, stored, view, backend, outcome)
            except BackendRefusal as refusal:
                self._metrics.errors.labels("MatrixCluster", "user").inc()
                return stored, outcome.with_refusal(refusal)
            except (ForeignFault, ServeRejected) as fault:
                return stored, outcome.with_fault(str(fault))
            self._metrics.steps.labels(type(step).__name__).inc()
            if not isinstance(step, Ensure | Remove):
                log.info("%s: %s: %s", stored.key, type(step).__name__, step.why)
            await self._hook(step, "after")
        return stored, outcome

    async def _carry_out_step(
        self, step: Step, stored: StoredObject, view: ClusterView, backend: ClusterBackend, outcome: ClusterOutcome
    ) -> tuple[StoredObject, ClusterOutcome]:
        match step:
            case AddFinalizer():
                finalizers = [*stored.finalizers, FINALIZER]
                changed = await self._store.set_finalizers(stored.key, finalizers, resource_version=stored.resource_version)
                if changed is not None:
                    self._cache.wrote(changed)
                return changed or stored, outcome
            case RecordAllocation(allocation=allocation):
                return stored, outcome.with_allocation(allocation)
            case Ensure(allocation=allocation):
                await backend.ensure(view.cluster, allocation)
            case PutServe(entries=entries):
                assert view.address is not None
                rest = RayRest(self._http, view.address.dashboard_url, view.address.ray_token)
                for entry_hash, text in (await apply_serve(rest, view.serve, entries)).items():
                    self._rejections[entry_hash] = (text, self._clock())
            case Remove():
                return stored, outcome.with_removal(await backend.remove(view.cluster))
        return stored, outcome

    async def _release(self, stored: StoredObject, cluster: MatrixCluster) -> None:
        step = ReleaseFinalizer("nothing of the cluster is left")
        await self._hook(step, "before")
        others = [name for name in stored.finalizers if name != FINALIZER]
        await self._store.set_finalizers(stored.key, others, resource_version=stored.resource_version)
        self._views.pop(cluster.key, None)
        await self._hook(step, "after")
        log.info("%s: removed", cluster.key)

    async def _wrong_backend(self, stored: StoredObject, cluster: MatrixCluster) -> float | None:
        if cluster.deleting and FINALIZER not in cluster.metadata.finalizers:
            return SETTLING_SECONDS
        able = ", ".join(sorted(self._backends.choices))
        message = f"the {self._backends.engine} engine runs backends {able}; set spec.backend to one of them, or leave it out"
        status = cluster_summary.unable(cluster.status, stored.generation, message, self._clock())
        await self._write(stored, cluster.status, status)
        return STEADY_SECONDS

    def _publish(self, cluster: MatrixCluster, view: ClusterView) -> None:
        """Keep the view for the deployments, with the status just written, and wake those that may see something new."""
        current = view.with_cluster(cluster)
        before = self._views.get(cluster.key)
        self._views[cluster.key] = current
        for deployment in current.deployments:
            if before is None or before.concerning(deployment) != current.concerning(deployment):
                self._wake(deployment.key)

    def _cluster_pace(
        self, view: ClusterView, steps: tuple[Step, ...], outcome: ClusterOutcome, written: bool, status: MatrixClusterStatus
    ) -> float:
        if outcome.removal and outcome.removal.state is not RemovalState.UNKNOWN:
            return STARTING_SECONDS
        if any(not isinstance(step, Ensure) for step in steps):
            return 0.05
        if outcome.refusal:
            return SETTLING_SECONDS
        ready = status.condition("Ready")
        steady = ready is not None and ready.status is TRUE
        if steady and not _deploying(view):
            return STEADY_SECONDS
        if isinstance(view.backend, Unknown):
            return SETTLING_SECONDS
        return DEPLOYING_SECONDS if steady else STARTING_SECONDS

    # --- ModelDeployment ---

    async def _reconcile_deployment(self, stored: StoredObject, deployment: ModelDeployment) -> float | None:
        if deployment.deleting:
            return SETTLING_SECONDS
        cluster_key = ObjectKey("MatrixCluster", deployment.metadata.namespace, deployment.spec.cluster_ref.name)
        view = self._views.get(cluster_key)
        if view is None and self._cache.get(cluster_key) is not None:
            return SETTLING_SECONDS  # woken as soon as the cluster was looked at
        if view is not None:
            view = view.with_deployment(deployment)  # what was seen of the cluster may be older than the deployment
        status = deployment_summary.summarise(deployment, view, self._clock())
        await self._write(stored, deployment.status, status)
        if status.allocation != deployment.status.allocation and view is not None:
            self._wake(cluster_key)
        return self._deployment_pace(status)

    def _deployment_pace(self, status: ModelDeploymentStatus) -> float:
        retry_at = status.allocation.retry_at if status.allocation else None
        if retry_at is not None:
            return max(0.1, (retry_at - self._clock()).total_seconds() + 0.05)
        return STEADY_SECONDS

    # --- both ---

    async def _unreadable(self, stored: StoredObject, message: str) -> float | None:
        """A spec that does not parse becomes Ready=False/InvalidSpec, and nothing else happens."""
        self._metrics.errors.labels(stored.key.kind, "user").inc()
        raw = stored.raw.get("status") or {}
        if stored.key.kind == "ModelDeployment":
            before = ModelDeploymentStatus.model_validate(raw)
            await self._write(stored, before, deployment_summary.unable(before, stored.generation, message, self._clock()))
        else:
            status = MatrixClusterStatus.model_validate(raw)
            await self._write(stored, status, cluster_summary.unable(status, stored.generation, message, self._clock()))
        return STEADY_SECONDS

    async def _internal_error(self, stored: StoredObject, resource: Resource, error: Exception) -> None:
        status: Status = resource.status  # type: ignore[attr-defined]
        condition = Condition(
            type="Ready",
            status="Unknown",
            reason="InternalError",
            message=f"a bug in the controller: {type(error).__name__}: {error}; the trace is in `matrix logs controller`",
            last_transition_time=self._clock().replace(microsecond=0),
            observed_generation=stored.generation,
        )
        others = tuple(item for item in status.conditions if item.type != "Ready")
        try:
            await self._write(stored, status, status.model_copy(update={"conditions": (condition, *others), "summary": condition.message}))
        except Exception:
            log.exception("could not write the status of %s", stored.key)

    async def _write(self, stored: StoredObject, before: Status, after: Status) -> bool:
        """Write the status if it changed, and an event for each transition."""
        if before == after:
            return False
        self._cache.wrote(await self._store.write_status(stored.key, after.to_wire(), resource_version=stored.resource_version))
        for condition in transitions(before.conditions, after.conditions):
            await self._record(stored, condition)
        return True

    async def _record(self, stored: StoredObject, condition: Condition) -> None:
        now = self._clock()
        type_ = EventType.NORMAL if condition.status is TRUE or condition.reason in _QUIET else EventType.WARNING
        text = f"{condition.type}={condition.status}: {condition.message}" if condition.message else f"{condition.type}={condition.status}"
        log.info("%s: %s (%s)", stored.key, text.splitlines()[0], condition.reason)
        await self._store.record(Event(stored.key, stored.uid, type_, condition.reason, text[:1000], now, now))


def _deploying(view: ClusterView) -> bool:
    """Something is on its way in Serve that the directory does not announce."""
    if view.serve is None:
        return True
    return any(app.status not in ("RUNNING", "DEPLOY_FAILED") for app in view.serve.applications.values())
