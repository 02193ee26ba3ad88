"""From a look at the API server to what the backend tells of a cluster. Pure.

Told from the pods, not from the RayCluster's status: `state` stays `ready` whatever happens to the pods afterwards, counts stay right for
KubeRay and wrong for Ray after the head has changed, and a pod that no machine takes does not show at all. The status serves for
what has no pod: a suspended cluster, a head that is not made yet, pods that a quota refuses.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime, timedelta

from matrix_crds.cluster import Allocation, AllocationKind, MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.conditions import head_without_pod, once_ready, replica_failure, suspended
from matrix_operator.backends.kuberay.containers import Finding
from matrix_operator.backends.kuberay.head_words import told_of_head
from matrix_operator.backends.kuberay.merge import scaled_groups
from matrix_operator.backends.kuberay.names import (
    ASKED_ANNOTATION,
    ATTEMPT_ANNOTATION,
    HEAD,
    TEMPLATE_HASH_ANNOTATION,
    Object,
    is_ours,
    ray_cluster_name,
)
from matrix_operator.backends.kuberay.pod_state import node_state
from matrix_operator.backends.kuberay.pods import WORKER_CONTAINER
from matrix_operator.backends.kuberay.reading import annotation, at, count, created, group_of, heads, is_ending, items, moment, workers
from matrix_operator.backends.kuberay.rejection import rejection
from matrix_operator.backends.kuberay.sight import Sight, listed
from matrix_operator.backends.port import NodePhase, NodeState, Observation
from matrix_operator.looks import Absent, Present

LYING = timedelta(seconds=120)
"""How long a worker may look well that still holds to a head that is gone. It was seen to end by itself after 45 to 79 s."""
PATIENCE = timedelta(seconds=30)
"""How long KubeRay may take for a first sign. It takes less than a second."""
ASKING = timedelta(minutes=5)
"""Between two times that it is asked for one."""

_WORST_FIRST = (NodePhase.FAILED, NodePhase.RECOVERING, NodePhase.STARTING, NodePhase.RUNNING)


def observation(cluster: MatrixCluster, sight: Sight, now: datetime) -> Present[Observation] | Absent:
    """Never Absent while a pod of it is there. A RayCluster of that name that is not ours is no sight of ours."""
    live = sight.ray_cluster
    if live is None or not is_ours(live, cluster):
        return Present(_lost(cluster, sight)) if sight.pods else Absent()
    head = _head(cluster, live, sight, now)
    if head.reason in (ClusterReason.SUSPENDED, ClusterReason.QUEUED):
        return Present(Observation(_allocation(live), head))
    groups = items(live, "spec", "workerGroupSpecs")
    found = [state for group in groups for state in _group(live, group, sight, now)]
    ordered = sorted(found, key=lambda state: (_WORST_FIRST.index(state.phase), state.reason is None, state.name))
    return Present(Observation(_allocation(live), head, tuple(ordered), sum(map(_clamped, scaled_groups(live, cluster)))))


def _allocation(live: Object) -> Allocation:
    return Allocation(
        kind=AllocationKind.RAY_CLUSTER,
        name=live["metadata"]["name"],
        attempt=int(annotation(live, ATTEMPT_ANNOTATION) or 1),
        template_hash=annotation(live, TEMPLATE_HASH_ANNOTATION),
        started_at=created(live),
    )


def _lost(cluster: MatrixCluster, sight: Sight) -> Observation:
    """The RayCluster was deleted; its pods go after it."""
    allocation = Allocation(kind=AllocationKind.RAY_CLUSTER, name=ray_cluster_name(cluster))
    message = f"its RayCluster is gone; waiting for its pods to end ({listed(sight.pods)})"
    since = min(map(created, sight.pods))
    return Observation(allocation, NodeState(HEAD, NodePhase.RECOVERING, since, ClusterReason.RECOVERING, message))


# --- the head ---


def _head(cluster: MatrixCluster, live: Object, sight: Sight, now: datetime) -> NodeState:
    trouble = _trouble(cluster, live, sight, now)
    if trouble:
        return NodeState(HEAD, trouble.phase, created(live), trouble.reason, trouble.message)
    pod = _head_pod(sight)
    if pod is None:
        found = head_without_pod(live)
        return NodeState(HEAD, found.phase, created(live), found.reason, found.message)
    return told_of_head(cluster, live, pod, _node(live, pod, sight, now))


def _trouble(cluster: MatrixCluster, live: Object, sight: Sight, now: datetime) -> Finding | None:
    """What concerns the whole cluster, the worst first."""
    if is_ending(live):
        return Finding(NodePhase.RECOVERING, ClusterReason.RECOVERING, "its RayCluster is being deleted; a new one is made when it is gone")
    refused = rejection(live, sight.events)
    if refused and not sight.pods:
        return Finding(NodePhase.FAILED, ClusterReason.INVALID_SPEC, f"KubeRay refuses the RayCluster: {refused}; change the manifest")
    return suspended(cluster, live, sight.pods) or _silent(live, sight, now) or _unprotected(live)


def wants_asking(sight: Sight, now: datetime) -> bool:
    """Whether a KubeRay that gives no sign is to be made to look once more, by a change of the RayCluster that means nothing. It says only
    once why it refuses a spec, in an event, and the API server forgets events after an hour."""
    live = sight.ray_cluster
    if live is None or rejection(live, sight.events) or not _is_silent(live, sight, now):
        return False
    asked = moment(annotation(live, ASKED_ANNOTATION)) or created(live)
    return now - asked > ASKING


def _is_silent(live: Object, sight: Sight, now: datetime) -> bool:
    return not (sight.pods or live.get("status") or now - created(live) < PATIENCE)


def _silent(live: Object, sight: Sight, now: datetime) -> Finding | None:
    if not _is_silent(live, sight, now):
        return None
    where = f"kubectl describe raycluster {live['metadata']['name']} -n {live['metadata'].get('namespace', '')}"
    message = f"KubeRay has not acted on the RayCluster; see whether its operator runs and watches this namespace, and `{where}`"
    return Finding(NodePhase.STARTING, ClusterReason.KUBERAY_SILENT, message)


def is_protected(live: Object) -> bool:
    """Whether Ray asks for a token. An API server with older CRDs drops what it does not know, and a watch from before their update leaves
    it out."""
    return bool(at(live, "spec", "authOptions", "secretName"))


def _unprotected(live: Object) -> Finding | None:
    """Ray would answer anyone."""
    if is_protected(live):
        return None
    message = (
        "the API server dropped spec.authOptions of the RayCluster: KubeRay's CRDs are too old; update KubeRay, then make the cluster anew"
    )
    return Finding(NodePhase.FAILED, ClusterReason.KUBERAY_SILENT, message)


def _head_pod(sight: Sight) -> Object | None:
    """The one that stays, else the one that ends."""
    return min(heads(sight.pods), key=lambda pod: (is_ending(pod), -created(pod).timestamp()), default=None)


def _node(live: Object, pod: Object, sight: Sight, now: datetime) -> NodeState:
    return node_state(pod, was_ready=once_ready(live), now=now, complaint=sight.complaints.get(pod["metadata"]["uid"]))


def head_incarnation(sight: Sight) -> Hashable:
    """Another one has read its token anew: a container takes what is in its environment when it starts."""
    pod = _head_pod(sight)
    if pod is None:
        return None
    return pod["metadata"]["uid"], tuple(count(status, "restartCount") for status in items(pod, "status", "containerStatuses"))


# --- the workers ---


def _group(live: Object, group: Object, sight: Sight, now: datetime) -> list[NodeState]:
    members = [pod for pod in workers(sight.pods) if group_of(pod) == group["groupName"]]
    pods, ending = [pod for pod in members if not is_ending(pod)], [pod for pod in members if is_ending(pod)]
    states = [_worker(live, pod, sight, now) for pod in pods]
    missing = _clamped(group) - len(pods)
    if 0 < missing <= len(ending) and not replica_failure(live):
        return [*states, *(_node(live, pod, sight, now) for pod in ending[:missing])]
    return [*states, _missing(live, group, missing)] if missing > 0 or _clamped(group) < count(group, "replicas") else states


def _worker(live: Object, pod: Object, sight: Sight, now: datetime) -> NodeState:
    state, head = _node(live, pod, sight, now), _head_pod(sight)
    started = next((_started(status) for status in items(pod, "status", "containerStatuses") if status["name"] == WORKER_CONTAINER), None)
    if state.phase is not NodePhase.RUNNING or head is None or started is None:
        return state
    if started >= created(head) or now - created(head) > LYING:
        return state
    message = "it still holds to a former head, whatever KubeRay counts; it starts again by itself within about a minute"
    return NodeState(state.name, NodePhase.RECOVERING, created(head), ClusterReason.RECOVERING, message)


def _started(status: Object) -> datetime | None:
    return moment(at(status, "state", "running", "startedAt"))


def _clamped(group: Object) -> int:
    """How many pods KubeRay makes of a group (GetWorkerGroupDesiredReplicas): the wish, held between min and max without a word."""
    wish, minimum, maximum = (count(group, field) for field in ("replicas", "minReplicas", "maxReplicas"))
    return min(max(wish, minimum), maximum) if "maxReplicas" in group else max(wish, minimum)


def _missing(live: Object, group: Object, missing: int) -> NodeState:
    """One for all pods of a group that are not there."""
    wish, clamped = count(group, "replicas"), _clamped(group)
    failure = replica_failure(live)
    if missing > 0 and failure:
        return NodeState(
            group["groupName"], failure.phase, created(live), failure.reason, f"{missing} of {clamped} pods: {failure.message}"
        )
    if clamped < wish:
        advice = "; raise the group's autoscale.max" if "idleTimeoutSeconds" in group else ""
        message = f"{wish} workers are wished for, but maxReplicas of the RayCluster holds them at {clamped}{advice}"
        return NodeState(group["groupName"], NodePhase.STARTING, created(live), ClusterReason.WORKERS_NOT_READY, message)
    return NodeState(group["groupName"], NodePhase.STARTING, created(live), None, f"KubeRay has not made {missing} of {clamped} pods yet")
