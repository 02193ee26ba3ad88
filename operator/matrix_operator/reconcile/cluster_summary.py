"""MatrixCluster: what to say of it. Pure: from what was seen to conditions with a reason and words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from matrix_crds.base import ConditionStatus
from matrix_crds.cluster import Allocation, ClusterCondition, MatrixClusterStatus, RayStatus, SecretReference, Workers
from matrix_crds.on_kubernetes import client_token_secret
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.port import BackendRefusal, NodePhase, NodeState, Removal, RemovalState
from matrix_operator.looks import Absent, Present, Unknown
from matrix_operator.reconcile.conditions import FALSE, TRUE, UNKNOWN, Verdict, merge, sum_up
from matrix_operator.reconcile.endpoints import cluster_endpoints
from matrix_operator.reconcile.renewal import pending_renewal
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import SYSTEM_APPLICATION
from matrix_operator.versions import incompatibility
from matrix_proto.state import GatewayView

DASHBOARD_GRACE = timedelta(seconds=60)
DELETION_DEADLINE = timedelta(seconds=120)


@dataclass(frozen=True)
class ClusterOutcome:
    """What carrying out the plan brought."""

    allocation: Allocation | None = None
    refusal: BackendRefusal | None = None
    removal: Removal | None = None
    released: bool = False
    """The finalizer is gone: there may be no object any more."""
    fault: str = ""
    """A step outside failed and is tried again."""

    def with_allocation(self, allocation: Allocation) -> ClusterOutcome:
        return replace(self, allocation=allocation)

    def with_refusal(self, refusal: BackendRefusal) -> ClusterOutcome:
        return replace(self, refusal=refusal)

    def with_removal(self, removal: Removal) -> ClusterOutcome:
        return replace(self, removal=removal)

    def with_release(self) -> ClusterOutcome:
        return replace(self, released=True)

    def with_fault(self, fault: str) -> ClusterOutcome:
        return replace(self, fault=fault)


def summarise(view: ClusterView, outcome: ClusterOutcome, backend_name: str, now: datetime) -> MatrixClusterStatus:
    """The whole status."""
    cluster = view.cluster
    parts = _deleting_parts(view, outcome, now) if cluster.deleting else tuple(_parts(view, outcome, now))
    # A change that upgradePolicy holds back leaves the cluster as able as before: UpToDate tells of it, Ready does not.
    causes = [part for part in parts if part.type is not ClusterCondition.UP_TO_DATE]
    ready = sum_up(ClusterCondition.READY, ClusterReason.READY, causes, _ready_message(view))
    return MatrixClusterStatus(
        observed_generation=cluster.metadata.generation,
        summary=ready.message,
        backend=backend_name,
        conditions=merge(cluster.status.conditions, (ready, *parts), cluster.metadata.generation, now),
        endpoints=cluster_endpoints(view),
        workers=_workers(view),
        allocation=_allocation(view, outcome),
        credentials_ref=SecretReference(name=client_token_secret(cluster.metadata.name)),
        ray=_ray(view),
    )


def _allocation(view: ClusterView, outcome: ClusterOutcome) -> Allocation | None:
    """As it was decided; when a time limit ends it is known only to the backend, and may change."""
    decided = outcome.allocation or view.cluster.status.allocation
    seen = view.observation.allocation if view.observation else None
    if decided is None or seen is None or seen.attempt != decided.attempt:
        return decided
    return decided.model_copy(update={"expires_at": seen.expires_at})


def _parts(view: ClusterView, outcome: ClusterOutcome, now: datetime) -> Iterator[Verdict]:
    yield _backend_reachable(view, outcome, now)
    yield _head_ready(view, outcome)
    yield _workers_ready(view)
    yield _serve_ready(view, outcome)
    yield _up_to_date(view)


def _backend_reachable(view: ClusterView, outcome: ClusterOutcome, now: datetime) -> Verdict:
    verdict = ClusterCondition.BACKEND_REACHABLE
    if isinstance(view.backend, Unknown):
        return Verdict(
            verdict, UNKNOWN, ClusterReason.BACKEND_UNREACHABLE, f"{view.backend.message}; nothing is changed until this is known"
        )
    if outcome.refusal:
        return Verdict(verdict, FALSE, outcome.refusal.reason, outcome.refusal.message)
    silent = _silent(view)
    if silent and view.observation and now - view.observation.head.since > DASHBOARD_GRACE:
        return Verdict(verdict, UNKNOWN, ClusterReason.DASHBOARD_UNREACHABLE, f"{silent}; nothing is changed until it answers")
    if silent and view.cluster.status.ray:
        return Verdict(verdict, UNKNOWN, ClusterReason.DASHBOARD_UNREACHABLE, f"{silent}; nothing is changed until it answers")
    return Verdict(verdict, TRUE, ClusterReason.READY)


def _silent(view: ClusterView) -> str:
    """Which look at Ray failed, or ''."""
    if view.ray is None:
        return ""
    looks = (view.ray.version, view.ray.nodes, view.ray.serve)
    return next((look.message for look in looks if isinstance(look, Unknown)), "")


def _head_ready(view: ClusterView, outcome: ClusterOutcome) -> Verdict:
    verdict = ClusterCondition.HEAD_READY
    if view.cluster.spec.suspend:
        return Verdict(verdict, FALSE, ClusterReason.SUSPENDED, "suspended; set spec.suspend to false to start it again")
    if isinstance(view.backend, Unknown):
        return Verdict(verdict, UNKNOWN, ClusterReason.BACKEND_UNREACHABLE, view.backend.message)
    if outcome.removal:  # of nodes whose successors come next: what dies of them is meant to
        left = f": {outcome.removal.message}" if outcome.removal.message else ""
        return Verdict(verdict, FALSE, ClusterReason.ROLLING_OUT, f"the cluster is being made anew; its former nodes are ended{left}")
    if isinstance(view.backend, Absent):
        if outcome.refusal:
            return Verdict(verdict, FALSE, outcome.refusal.reason, outcome.refusal.message)
        return Verdict(verdict, FALSE, ClusterReason.PENDING, "the head is about to be started")
    head = view.backend.state.head
    if head.phase is not NodePhase.RUNNING:
        return Verdict(verdict, FALSE, head.reason or _phase_reason(head), _node_message(head))
    return _head_in_ray(view)


def _head_in_ray(view: ClusterView) -> Verdict:
    verdict = ClusterCondition.HEAD_READY
    if view.ray is None:
        return Verdict(verdict, FALSE, ClusterReason.STARTING, "the head runs; its address is not known yet")
    if isinstance(view.ray.version, Unknown):
        reason = ClusterReason.DASHBOARD_UNREACHABLE if view.cluster.status.ray else ClusterReason.STARTING
        return Verdict(verdict, UNKNOWN, reason, f"waiting for Ray's dashboard: {view.ray.version.message}")
    if view.nodes is None:
        return Verdict(verdict, UNKNOWN, ClusterReason.DASHBOARD_UNREACHABLE, "waiting for Ray's list of nodes")
    if not any(node.is_head_node for node in view.nodes):
        return Verdict(verdict, FALSE, ClusterReason.STARTING, "the head's raylet has not joined Ray yet")
    return Verdict(verdict, TRUE, ClusterReason.READY)


def _phase_reason(node: NodeState) -> ClusterReason:
    table = {
        NodePhase.STARTING: ClusterReason.STARTING,
        NodePhase.RECOVERING: ClusterReason.RECOVERING,
        NodePhase.FAILED: ClusterReason.START_FAILED,
        NodePhase.RUNNING: ClusterReason.READY,
    }
    return table[node.phase]


def _node_message(node: NodeState) -> str:
    return f"{node.name}: {node.message or node.phase.value.lower()} (since {node.since:%H:%M:%S})"


def _workers(view: ClusterView) -> Workers:
    groups, desired = view.cluster.spec.worker_groups, view.wanted_workers
    running = sum(1 for worker in view.observation.workers if worker.phase is NodePhase.RUNNING) if view.observation else 0
    alive = sum(1 for node in view.nodes or () if not node.is_head_node)
    ready = min(running, alive)
    return Workers(desired=desired, ready=ready, display=f"{ready}/{desired}" if groups else "head only")


def _workers_ready(view: ClusterView) -> Verdict:
    verdict = ClusterCondition.WORKERS_READY
    counts = _workers(view)
    if counts.ready >= counts.desired:  # more of them while one leaves
        return Verdict(verdict, TRUE, ClusterReason.READY, f"{counts.display}" if counts.desired else "")
    if view.nodes is None:
        return Verdict(verdict, UNKNOWN, ClusterReason.HEAD_NOT_READY, "not known before the head answers")
    waiting = [worker for worker in view.observation.workers if worker.phase is not NodePhase.RUNNING] if view.observation else []
    detail = f"; {_node_message(waiting[0])}" if waiting else "; waiting for them to join Ray"
    return Verdict(verdict, FALSE, ClusterReason.WORKERS_NOT_READY, f"{counts.ready} of {counts.desired} workers ready{detail}")


def _serve_ready(view: ClusterView, outcome: ClusterOutcome) -> Verdict:
    verdict = ClusterCondition.SERVE_READY
    if view.ray is None or view.nodes is None:
        return Verdict(verdict, UNKNOWN, ClusterReason.HEAD_NOT_READY, "not known before the head answers")
    if outcome.fault:
        return Verdict(verdict, UNKNOWN, ClusterReason.SERVE_NOT_READY, f"{outcome.fault}; tried again")
    if isinstance(view.ray.serve, Unknown):
        return Verdict(verdict, UNKNOWN, ClusterReason.SERVE_NOT_READY, f"waiting for Ray Serve: {view.ray.serve.message}")
    system = view.ray.serve.state.applications.get(SYSTEM_APPLICATION)
    if system is None:
        return Verdict(verdict, FALSE, ClusterReason.STARTING, f"{SYSTEM_APPLICATION} is about to be deployed")
    if not isinstance(view.ray.state, Present):
        detail = f": {system.message}" if system.message else ""
        return Verdict(verdict, FALSE, ClusterReason.SERVE_NOT_READY, f"waiting for {SYSTEM_APPLICATION} (Serve: {system.status}){detail}")
    problem = incompatibility(view.ray.state.state.runtime_version)
    if problem:
        return Verdict(verdict, FALSE, ClusterReason.RUNTIME_TOO_OLD, problem)
    return _gateway_ready(view.ray.state.state.gateway)


def _gateway_ready(gateway: GatewayView | None) -> Verdict:
    if gateway is not None and gateway.ready:
        return Verdict(ClusterCondition.SERVE_READY, TRUE, ClusterReason.READY)
    told = gateway.message if gateway else "it has not reported yet"
    message = f"the gateway is not ready: {told or 'it does not say why'}"
    return Verdict(ClusterCondition.SERVE_READY, FALSE, ClusterReason.GATEWAY_NOT_READY, message)


def _up_to_date(view: ClusterView) -> Verdict:
    verdict = ClusterCondition.UP_TO_DATE
    renewal = pending_renewal(view)
    if renewal is None:
        return Verdict(verdict, TRUE, ClusterReason.READY)
    if renewal.wanted:
        return Verdict(verdict, FALSE, ClusterReason.ROLLING_OUT, f"the cluster is being made anew: {renewal.why}")
    message = (
        f"{renewal.why} and is held back by upgradePolicy Never; `matrix rollout restart {_in_full(view)}` makes the cluster anew with it"
    )
    return Verdict(verdict, FALSE, ClusterReason.TEMPLATE_CHANGED, message)


def _in_full(view: ClusterView) -> str:
    """The cluster as a command names it wherever it is typed: with its namespace, also `default`."""
    return "/".join(view.cluster.key)


def _ready_message(view: ClusterView) -> str:
    serving = len(view.deployments)
    models = "no models" if not serving else f"{serving} model{'s' if serving > 1 else ''} declared"
    return f"{len(view.nodes or ())} node{'s' if len(view.nodes or ()) != 1 else ''}, {models}"


def _ray(view: ClusterView) -> RayStatus | None:
    if view.ray and isinstance(view.ray.version, Present):
        version = view.ray.version.state
        return RayStatus(version=version.ray_version, session_name=version.session_name)
    return view.cluster.status.ray


def _deleting_parts(view: ClusterView, outcome: ClusterOutcome, now: datetime) -> tuple[Verdict, ...]:
    removal = outcome.removal
    status: ConditionStatus = UNKNOWN if removal and removal.state is RemovalState.UNKNOWN else FALSE
    message = f"being removed: {removal.message}" if removal and removal.message else "being removed"
    reason = ClusterReason.DELETING
    started = view.cluster.metadata.deletion_timestamp
    if started and now - started > DELETION_DEADLINE:
        reason = ClusterReason.DELETION_STUCK
        looks = f"`matrix why {_in_full(view)}` and `matrix logs controller`"
        message += f"; it takes longer than it should: look at {looks}. Nothing is given up by itself"
    return (Verdict(ClusterCondition.HEAD_READY, status, reason, message),)
