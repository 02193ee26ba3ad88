"""ModelDeployment: what to say of it, and when to start again what Serve has given up on. Pure: reads the cluster's view, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from matrix_crds import quantity
from matrix_crds.cluster import ClusterCondition, MatrixCluster
from matrix_crds.deployment import DeploymentAllocation, DeploymentCondition, ModelDeployment, ModelDeploymentStatus, Replicas
from matrix_crds.reasons import DeploymentReason
from matrix_operator.ray_rest import ServeApplication, ServeDeployment
from matrix_operator.reconcile.conditions import FALSE, TRUE, UNKNOWN, Verdict, merge, sum_up
from matrix_operator.reconcile.endpoints import model_endpoints
from matrix_operator.reconcile.rollout import up_to_date
from matrix_operator.reconcile.selection import Refusal
from matrix_operator.reconcile.serving_view import answering, is_accepted, rejection, unheard, unseen, updated
from matrix_operator.reconcile.start_failures import LAST_RETRY, SERVE_GAVE_UP, pause_after, start_failures
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import REPLICA_DEPLOYMENT, restarted_at
from matrix_proto.state import ReplicaState, ReplicaView, StartPhase

_NOT_MISSED = frozenset({ClusterCondition.READY, ClusterCondition.WORKERS_READY, ClusterCondition.UP_TO_DATE})

PHASE_REASON = {
    StartPhase.PREPARING: DeploymentReason.STARTING,
    StartPhase.DOWNLOADING: DeploymentReason.DOWNLOADING,
    StartPhase.CONVERTING: DeploymentReason.CONVERTING,
    StartPhase.LOADING: DeploymentReason.LOADING,
}


def summarise(deployment: ModelDeployment, view: ClusterView | None, now: datetime) -> ModelDeploymentStatus:
    """The whole status. `view` None: there is no cluster of that name."""
    refusal = view.selection.refused.get(deployment.key) if view else None
    allocation = next_allocation(deployment, view, now) if view and not refusal else deployment.status.allocation
    parts = (
        _cluster_ready(deployment, view),
        _replicas_ready(deployment, view, refusal, allocation),
        up_to_date(deployment, view, refusal, allocation),
    )
    ordered = (parts[1], *parts) if refusal else parts
    ready = sum_up(DeploymentCondition.READY, DeploymentReason.READY, ordered, _ready_message(deployment, view))
    replicas = _replicas(deployment, view)
    return ModelDeploymentStatus(
        observed_generation=deployment.metadata.generation,
        summary=ready.message.splitlines()[0] if ready.message else "",
        conditions=merge(deployment.status.conditions, (ready, *parts), deployment.metadata.generation, now),
        endpoints=model_endpoints(deployment, view),
        ready_replicas=replicas.ready,
        replicas=replicas,
        model=deployment.status.model if refusal else deployment.served_name,
        allocation=allocation,
    )


def next_allocation(deployment: ModelDeployment, view: ClusterView, now: datetime) -> DeploymentAllocation:
    """A new attempt when Serve has given up on the current one and the backoff is over."""
    current = _remembered(deployment)
    if deployment.status.observed_generation != deployment.metadata.generation or updated(deployment, view):
        current = current.model_copy(update={"failures": 0, "retry_at": None})
    if not _given_up(deployment, view, current):
        return current.model_copy(update={"retry_at": None}) if view.serve else current
    if current.retry_at is None:
        failures = current.failures + 1
        return current.model_copy(update={"failures": failures, "retry_at": now.replace(microsecond=0) + pause_after(failures)})
    if now < current.retry_at <= now + LAST_RETRY:  # later than that: the clock was set back
        return current
    return current.model_copy(update={"attempt": current.attempt + 1, "retry_at": None})


def _remembered(deployment: ModelDeployment) -> DeploymentAllocation:
    current = deployment.status.allocation or DeploymentAllocation()
    return current.model_copy(update={"restarted_at": restarted_at(deployment)})


def _given_up(deployment: ModelDeployment, view: ClusterView, allocation: DeploymentAllocation) -> bool:
    application = view.application(deployment)
    if application is None or not SERVE_GAVE_UP.get(application.status, False):
        return False
    return _accepted_attempt(application) == allocation.attempt and is_accepted(deployment, view)


def _accepted_attempt(application: ServeApplication) -> int | None:
    deployments = (application.deployed_app_config or {}).get("deployments") or [{}]
    attempt = (deployments[0].get("user_config") or {}).get("attempt")
    return attempt if isinstance(attempt, int) else None


def _cluster_ready(deployment: ModelDeployment, view: ClusterView | None) -> Verdict:
    verdict = DeploymentCondition.CLUSTER_READY
    name = deployment.spec.cluster_ref.name
    if view is None:
        message = (
            f"there is no MatrixCluster {name!r} in namespace {deployment.metadata.namespace!r}; apply one, or correct spec.clusterRef"
        )
        return Verdict(verdict, FALSE, DeploymentReason.CLUSTER_NOT_FOUND, message)
    if view.cluster.deleting:
        return Verdict(verdict, FALSE, DeploymentReason.CLUSTER_NOT_FOUND, f"MatrixCluster {name!r} is being deleted")
    ready = view.cluster.status.condition("Ready")
    if ready is None or view.cluster.status.observed_generation == 0:
        return Verdict(verdict, FALSE, DeploymentReason.CLUSTER_NOT_READY, f"MatrixCluster {name!r} was not looked at yet")
    if ready.status is TRUE or (_all_answer(deployment, view) and _lacks_workers_alone(view.cluster)):
        return Verdict(verdict, TRUE, DeploymentReason.READY)
    reason = DeploymentReason.STATE_UNKNOWN if ready.status is UNKNOWN else DeploymentReason.CLUSTER_NOT_READY
    return Verdict(verdict, ready.status, reason, f"MatrixCluster {name!r}: {ready.message or ready.reason}")


def _all_answer(deployment: ModelDeployment, view: ClusterView) -> bool:
    return len(answering(deployment, view)) >= deployment.spec.replicas > 0


def _lacks_workers_alone(cluster: MatrixCluster) -> bool:
    """It answers, and there is a worker less than there should be: whose models all run elsewhere, they do not miss it."""
    others = [part for part in cluster.status.conditions if part.type not in _NOT_MISSED]
    return bool(others) and all(part.status is TRUE for part in others)


def _replicas_ready(
    deployment: ModelDeployment, view: ClusterView | None, refusal: Refusal | None, allocation: DeploymentAllocation | None
) -> Verdict:
    verdict = DeploymentCondition.REPLICAS_READY
    if refusal:
        return Verdict(verdict, FALSE, refusal.reason, refusal.message)
    if view is None or view.cluster.deleting:
        return Verdict(verdict, FALSE, DeploymentReason.PENDING, "no cluster to run on")
    if deployment.spec.replicas == 0:
        return Verdict(verdict, TRUE, DeploymentReason.SCALED_TO_ZERO, "spec.replicas is 0: nothing serves")
    if view.serve is None or view.state is None:
        return Verdict(verdict, UNKNOWN, unseen(view), "the replicas can't be seen while the cluster does not answer")
    if _all_answer(deployment, view):
        return Verdict(verdict, TRUE, DeploymentReason.READY, _ready_message(deployment, view))
    return next(_causes(deployment, view, allocation))


def _causes(deployment: ModelDeployment, view: ClusterView, allocation: DeploymentAllocation | None) -> Iterator[Verdict]:
    """The causes that apply, the most telling first; the last always does."""
    verdict = DeploymentCondition.REPLICAS_READY
    yield from rejection(verdict, deployment, view)
    unschedulable = too_large(deployment, view)
    if unschedulable:
        yield Verdict(verdict, FALSE, DeploymentReason.UNSCHEDULABLE, unschedulable)
    if not is_accepted(deployment, view):
        yield Verdict(verdict, FALSE, DeploymentReason.PENDING, "waiting for Ray Serve to take the configuration")
    yield from start_failures(verdict, deployment, view, allocation)
    yield from _progress(deployment, view)


def _progress(deployment: ModelDeployment, view: ClusterView) -> Iterator[Verdict]:
    verdict = DeploymentCondition.REPLICAS_READY
    replicas, application = view.replicas(deployment), view.application(deployment)
    starting = [replica for replica in replicas if replica.state is ReplicaState.STARTING and not replica.suspect]
    suspect = [replica for replica in replicas if _lost(replica)]
    count = _ready_message(deployment, view)
    if starting:
        yield Verdict(verdict, FALSE, _starting_reason(starting[0]), f"{count}; {_starting_message(starting[0])}")
    if suspect:
        age = f"replica {suspect[0].id} stopped reporting"
        yield Verdict(verdict, FALSE, DeploymentReason.RECOVERING, f"{count}; {age}; Ray Serve replaces it when it is dead")
    if unheard(deployment, view):
        reason, waiting = _waits_for_reports(deployment)
        yield Verdict(verdict, FALSE, reason, f"{count}; {waiting}")
    if application is not None and _unplaced(application):
        wants = deployment.spec.resources
        asks = f"cpu {wants.cpu}, memory {wants.memory}" + (f", gpu {wants.gpu}" if wants.gpu else "")
        yield Verdict(verdict, FALSE, DeploymentReason.STARTING, f"{count}; a replica waits for Ray to place it (asks for {asks})")
    yield Verdict(verdict, FALSE, DeploymentReason.STARTING, f"{count}; waiting for Ray Serve to start a replica")


def _waits_for_reports(deployment: ModelDeployment) -> tuple[DeploymentReason, str]:
    """A model that has not answered yet comes up for the first time, and so does the directory."""
    if not deployment.status.endpoints:
        return DeploymentReason.STARTING, "waiting for the replicas' first reports"
    return DeploymentReason.RECOVERING, "the directory has just started and waits for the replicas' reports"


def _lost(replica: ReplicaView) -> bool:
    """It fell silent, and not because it was to go."""
    return replica.suspect and replica.state is not ReplicaState.DRAINING


def _starting_reason(replica: ReplicaView) -> DeploymentReason:
    return PHASE_REASON[replica.phase] if replica.phase else DeploymentReason.STARTING


def _starting_message(replica: ReplicaView) -> str:
    text = replica.message or "starting"
    if replica.progress and replica.progress.total:
        text += f", {100 * replica.progress.done // replica.progress.total} %"
    return f"{text} (since {replica.since:%H:%M:%S})"


def _unplaced(application: ServeApplication) -> bool:
    deployment: ServeDeployment | None = application.deployments.get(REPLICA_DEPLOYMENT)
    return deployment is not None and any(replica.state == "STARTING" and replica.pid is None for replica in deployment.replicas)


def too_large(deployment: ModelDeployment, view: ClusterView) -> str | None:
    """What no node of the cluster has, or None. Compares with the nodes' totals: what is only busy now is waited for."""
    if not view.nodes or not view.workers_complete:
        return None
    wants = deployment.spec.resources
    needs = {"CPU": float(quantity.whole(wants.cpu)), "memory": float(quantity.whole(wants.memory)), "GPU": float(wants.gpu)}
    if any(all(node.resources_total.get(name, 0.0) >= amount for name, amount in needs.items()) for node in view.nodes):
        return None
    largest = {name: max(node.resources_total.get(name, 0.0) for node in view.nodes) for name in needs}
    short = {"CPU": f"{largest['CPU']:g} CPUs", "memory": f"{largest['memory'] / 2**30:.1f}Gi of memory", "GPU": f"{largest['GPU']:g} GPUs"}
    lacking = [text for name, text in short.items() if largest[name] < needs[name]] or list(short.values())
    asks = f"cpu {wants.cpu}, memory {wants.memory}" + (f", gpu {wants.gpu}" if wants.gpu else "")
    remedy = "lower spec.resources, or give the cluster larger nodes"
    return f"a replica asks for {asks}; no node has that (at most {', '.join(lacking)}): {remedy}"


def _replicas(deployment: ModelDeployment, view: ClusterView | None) -> Replicas:
    seen = view.replicas(deployment) if view else ()
    ready = len(answering(deployment, view)) if view else 0
    starting = sum(1 for replica in seen if replica.state is ReplicaState.STARTING and not replica.suspect)
    failing = sum(1 for replica in seen if replica.state is ReplicaState.FAILED or _lost(replica))
    desired = deployment.spec.replicas
    return Replicas(
        desired=desired,
        ready=ready,
        starting=starting,
        failing=min(failing, max(0, desired - ready)),
        updated=updated(deployment, view) if view else 0,
        display=f"{ready}/{desired}",
    )


def _ready_message(deployment: ModelDeployment, view: ClusterView | None) -> str:
    wanted = deployment.spec.replicas
    ready = len(answering(deployment, view)) if view else 0
    return f"{min(ready, wanted)} of {wanted} replicas ready" if wanted else "scaled to zero"
