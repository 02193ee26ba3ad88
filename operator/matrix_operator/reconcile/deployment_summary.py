"""ModelDeployment: what to say of it, and when to start again what Serve has given up on. Pure: reads the cluster's view, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from matrix_crds import quantity
from matrix_crds.deployment import DeploymentAllocation, DeploymentCondition, ModelDeployment, ModelDeploymentStatus, Replicas
from matrix_crds.reasons import DeploymentReason
from matrix_operator.ray_rest import ServeApplication, ServeDeployment
from matrix_operator.reconcile.conditions import FALSE, TRUE, UNKNOWN, Verdict, merge, sum_up
from matrix_operator.reconcile.endpoints import endpoints, unheard
from matrix_operator.reconcile.selection import Refusal, select
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import REPLICA_DEPLOYMENT, entry_hash, model_entry
from matrix_proto.state import ReplicaState, ReplicaView, StartPhase

FIRST_RETRY = timedelta(seconds=10)
LAST_RETRY = timedelta(minutes=10)
LINES_SHOWN = 8

PHASE_REASON = {
    StartPhase.PREPARING: DeploymentReason.STARTING,
    StartPhase.DOWNLOADING: DeploymentReason.DOWNLOADING,
    StartPhase.CONVERTING: DeploymentReason.CONVERTING,
    StartPhase.LOADING: DeploymentReason.LOADING,
}

SERVE_GAVE_UP = {"DEPLOY_FAILED": True, "UNHEALTHY": False, "RUNNING": False, "DEPLOYING": False, "NOT_STARTED": False, "DELETING": False}
"""Serve's application states: does the same configuration start it again? After DEPLOY_FAILED it does not (three failed starts)."""


def summarise(deployment: ModelDeployment, view: ClusterView | None, now: datetime) -> ModelDeploymentStatus:
    """The whole status. `view` None: there is no cluster of that name."""
    refusal = select(view.deployments).refused.get(deployment.key) if view else None
    allocation = next_allocation(deployment, view, now) if view and not refusal else deployment.status.allocation
    parts = (
        _cluster_ready(deployment, view),
        _replicas_ready(deployment, view, refusal, allocation),
        _up_to_date(deployment, view, refusal),
    )
    ordered = (parts[1], *parts) if refusal else parts
    ready = sum_up(DeploymentCondition.READY, DeploymentReason.READY, ordered, _ready_message(deployment, view))
    replicas = _replicas(deployment, view)
    return ModelDeploymentStatus(
        observed_generation=deployment.metadata.generation,
        summary=ready.message.splitlines()[0] if ready.message else "",
        conditions=merge(deployment.status.conditions, (ready, *parts), deployment.metadata.generation, now),
        endpoints=endpoints(deployment, view),
        ready_replicas=replicas.ready,
        replicas=replicas,
        model=deployment.served_name,
        allocation=allocation,
    )


def next_allocation(deployment: ModelDeployment, view: ClusterView, now: datetime) -> DeploymentAllocation:
    """A new attempt when Serve has given up on the current one and the backoff is over."""
    current = deployment.status.allocation or DeploymentAllocation()
    if deployment.status.observed_generation != deployment.metadata.generation or _ready_count(deployment, view):
        current = DeploymentAllocation(attempt=current.attempt)
    if not _given_up(deployment, view, current):
        return DeploymentAllocation(attempt=current.attempt, failures=current.failures) if view.serve else current
    if current.retry_at is None:
        delay = min(LAST_RETRY, FIRST_RETRY * 2 ** min(current.failures, 10))
        return DeploymentAllocation(attempt=current.attempt, failures=current.failures + 1, retry_at=now.replace(microsecond=0) + delay)
    if now < current.retry_at <= now + LAST_RETRY:  # later than that: the clock was set back
        return current
    return DeploymentAllocation(attempt=current.attempt + 1, failures=current.failures)


def _given_up(deployment: ModelDeployment, view: ClusterView, allocation: DeploymentAllocation) -> bool:
    application = view.application(deployment)
    if application is None or not SERVE_GAVE_UP.get(application.status, False):
        return False
    return _accepted_attempt(application) == allocation.attempt and _is_accepted(deployment, view)


def _accepted_attempt(application: ServeApplication) -> int | None:
    deployments = (application.deployed_app_config or {}).get("deployments") or [{}]
    attempt = (deployments[0].get("user_config") or {}).get("attempt")
    return attempt if isinstance(attempt, int) else None


def _is_accepted(deployment: ModelDeployment, view: ClusterView) -> bool:
    """Serve has the entry that is declared now."""
    application = view.application(deployment)
    if application is None or view.layout is None:
        return False
    return application.deployed_app_config == model_entry(deployment, view.layout)


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
    if ready.status is TRUE:
        return Verdict(verdict, TRUE, DeploymentReason.READY)
    reason = DeploymentReason.STATE_UNKNOWN if ready.status is UNKNOWN else DeploymentReason.CLUSTER_NOT_READY
    return Verdict(verdict, ready.status, reason, f"MatrixCluster {name!r}: {ready.message or ready.reason}")


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
        return Verdict(verdict, UNKNOWN, _unseen(view), "the replicas can't be seen while the cluster does not answer")
    ready = _ready_count(deployment, view)
    if ready >= deployment.spec.replicas:
        return Verdict(verdict, TRUE, DeploymentReason.READY, f"{ready} of {deployment.spec.replicas} replicas ready")
    return next(_causes(deployment, view, allocation))


def _causes(deployment: ModelDeployment, view: ClusterView, allocation: DeploymentAllocation | None) -> Iterator[Verdict]:
    """The causes that apply, the most telling first; the last always does."""
    verdict = DeploymentCondition.REPLICAS_READY
    yield from _rejection(verdict, deployment, view)
    unschedulable = too_large(deployment, view)
    if unschedulable:
        yield Verdict(verdict, FALSE, DeploymentReason.UNSCHEDULABLE, unschedulable)
    attempt = allocation.attempt if allocation else 1
    replicas = view.replicas(deployment)
    failed = [
        replica for replica in replicas if replica.failure and replica.attempt == attempt and not _of_a_predecessor(replica, deployment)
    ]
    application = view.application(deployment)
    if application is None or not _is_accepted(deployment, view):
        yield Verdict(verdict, FALSE, DeploymentReason.PENDING, "waiting for Ray Serve to take the configuration")
    elif failed:
        yield _failed(failed[-1], application, allocation)
    elif SERVE_GAVE_UP.get(application.status, False):
        yield Verdict(verdict, FALSE, DeploymentReason.START_FAILED, _serve_says(application) + _retry_note(allocation))
    yield from _progress(deployment, view, replicas, application)


def _rejection(type_: DeploymentCondition, deployment: ModelDeployment, view: ClusterView) -> Iterator[Verdict]:
    """What Serve said when it refused the entry as it is declared now; nothing if it did not."""
    text = view.rejections.get(entry_hash(model_entry(deployment, view.layout))) if view.layout else None
    if text:
        yield Verdict(type_, FALSE, DeploymentReason.REJECTED_BY_SERVE, f"Ray Serve refused the configuration: {text}")


def _of_a_predecessor(replica: ReplicaView, deployment: ModelDeployment) -> bool:
    """It was of a deployment of the same name that was deleted: the directory remembers failures for a while."""
    created = deployment.metadata.creation_timestamp
    return created is not None and replica.since < created


def _failed(replica: ReplicaView, application: ServeApplication, allocation: DeploymentAllocation | None) -> Verdict:
    assert replica.failure is not None
    lines = "".join(f"\n  | {line}" for line in replica.failure.lines[-LINES_SHOWN:])
    note = _retry_note(allocation) if SERVE_GAVE_UP.get(application.status, False) else "; Ray Serve tries again (three tries in all)"
    reason = DeploymentReason(replica.failure.reason.value)
    return Verdict(DeploymentCondition.REPLICAS_READY, FALSE, reason, replica.failure.message + note + lines)


def _retry_note(allocation: DeploymentAllocation | None) -> str:
    if allocation is None or allocation.retry_at is None:
        return "; starting again"
    return f"; started again at {allocation.retry_at:%H:%M:%S} UTC, or at once when the manifest changes"


def _serve_says(application: ServeApplication) -> str:
    texts = (*(item.message for item in application.deployments.values()), application.message)
    text = next((text for text in texts if text.strip()), "Ray Serve gave up on it without a message")
    return text.strip().splitlines()[-1][:500]


def _progress(
    deployment: ModelDeployment, view: ClusterView, replicas: Sequence[ReplicaView], application: ServeApplication | None
) -> Iterator[Verdict]:
    verdict = DeploymentCondition.REPLICAS_READY
    starting = [replica for replica in replicas if replica.state is ReplicaState.STARTING]
    ready = [replica for replica in replicas if replica.state is ReplicaState.READY and not replica.suspect]
    count = f"{len(ready)} of {deployment.spec.replicas} replicas ready"
    suspect = [replica for replica in replicas if replica.suspect]
    if starting:
        yield Verdict(verdict, FALSE, _starting_reason(starting[0]), f"{count}; {_starting_message(starting[0])}")
    if suspect:
        age = f"replica {suspect[0].id} stopped reporting"
        yield Verdict(verdict, FALSE, DeploymentReason.RECOVERING, f"{count}; {age}; Ray Serve replaces it when it is dead")
    if unheard(deployment, view):
        waiting = "the directory has just started and waits for the replicas' reports"
        yield Verdict(verdict, FALSE, DeploymentReason.RECOVERING, f"{count}; {waiting}")
    if application is not None and _unplaced(application):
        wants = deployment.spec.resources
        asks = f"cpu {wants.cpu}, memory {wants.memory}" + (f", gpu {wants.gpu}" if wants.gpu else "")
        yield Verdict(verdict, FALSE, DeploymentReason.STARTING, f"{count}; a replica waits for Ray to place it (asks for {asks})")
    yield Verdict(verdict, FALSE, DeploymentReason.STARTING, f"{count}; waiting for Ray Serve to start a replica")


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


def _up_to_date(deployment: ModelDeployment, view: ClusterView | None, refusal: Refusal | None) -> Verdict:
    verdict = DeploymentCondition.UP_TO_DATE
    if refusal:
        return Verdict(verdict, FALSE, refusal.reason, refusal.message)
    if view is None or view.cluster.deleting:
        return Verdict(verdict, UNKNOWN, DeploymentReason.CLUSTER_NOT_FOUND, "no cluster to run on")
    if view.serve is None:
        return Verdict(verdict, UNKNOWN, _unseen(view), "not known before the cluster answers")
    if deployment.spec.replicas == 0:
        gone = view.application(deployment) is None
        return Verdict(verdict, TRUE if gone else FALSE, DeploymentReason.SCALED_TO_ZERO, "" if gone else "the last replicas are leaving")
    if not _is_accepted(deployment, view):
        waiting = Verdict(verdict, FALSE, DeploymentReason.PENDING, "waiting for Ray Serve to take the configuration")
        return next(_rejection(verdict, deployment, view), waiting)
    application = view.application(deployment)
    if application is not None and application.status == "DEPLOYING" and _ready_count(deployment, view) >= deployment.spec.replicas:
        return Verdict(verdict, FALSE, DeploymentReason.ROLLING_OUT, "waiting for Ray Serve to finish the rollout")
    return Verdict(verdict, TRUE, DeploymentReason.READY)


def _unseen(view: ClusterView) -> DeploymentReason:
    """Why the inside of a cluster can't be seen: it is not up, or it does not answer although it should."""
    ready = view.cluster.status.condition("Ready")
    up = ready is not None and ready.status is not FALSE
    return DeploymentReason.STATE_UNKNOWN if up else DeploymentReason.CLUSTER_NOT_READY


def _ready_count(deployment: ModelDeployment, view: ClusterView) -> int:
    return sum(1 for replica in view.replicas(deployment) if replica.state is ReplicaState.READY and not replica.suspect)


def _replicas(deployment: ModelDeployment, view: ClusterView | None) -> Replicas:
    seen = view.replicas(deployment) if view else ()
    ready = _ready_count(deployment, view) if view else 0
    starting = sum(1 for replica in seen if replica.state is ReplicaState.STARTING)
    failing = sum(1 for replica in seen if replica.state is ReplicaState.FAILED or replica.suspect)
    desired = deployment.spec.replicas
    return Replicas(desired=desired, ready=ready, starting=starting, failing=min(failing, desired), display=f"{ready}/{desired}")


def _ready_message(deployment: ModelDeployment, view: ClusterView | None) -> str:
    ready = _ready_count(deployment, view) if view else 0
    return f"{ready} of {deployment.spec.replicas} replicas ready" if deployment.spec.replicas else "scaled to zero"


def unable(status: ModelDeploymentStatus, generation: int, message: str, now: datetime) -> ModelDeploymentStatus:
    """The status of a deployment that does not parse: what runs of it goes on, nothing else happens."""
    ready = Verdict(DeploymentCondition.READY, FALSE, DeploymentReason.INVALID_SPEC, message)
    update = {
        "observed_generation": generation,
        "summary": message.splitlines()[0],
        "conditions": merge(status.conditions, (ready,), generation, now),
    }
    return status.model_copy(update=update)
