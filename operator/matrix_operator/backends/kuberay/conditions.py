"""What KubeRay's conditions say, where no pod says it better. Pure, with literal tables.

All of them may be absent: from a RayCluster that is new, and from a KubeRay that is older than they are. `status.state` says whether
everything was up once, never whether it still is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from matrix_crds.cluster import MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.containers import WAITING, Finding, waiting_in_words
from matrix_operator.backends.kuberay.names import QUEUE_LABEL, Object
from matrix_operator.backends.kuberay.reading import at, condition, is_true, label
from matrix_operator.backends.kuberay.sight import listed
from matrix_operator.backends.port import NodePhase

HEAD_POD_READY: dict[str, tuple[NodePhase, ClusterReason | None, str]] = {
    "HeadPodNotFound": (NodePhase.STARTING, None, "KubeRay has not made its pod yet"),
    "Unknown": (NodePhase.STARTING, None, "its pod was just made"),
    "ContainersNotReady": (NodePhase.STARTING, None, "its containers are not ready"),
    "PodFailed": (NodePhase.RECOVERING, ClusterReason.RECOVERING, "its pod ended; KubeRay makes another"),
    "PodCompleted": (NodePhase.RECOVERING, ClusterReason.RECOVERING, "its pod ended; KubeRay makes another"),
    "Error": (NodePhase.RECOVERING, ClusterReason.RECOVERING, "its container ended and is started again"),
    "Completed": (NodePhase.RECOVERING, ClusterReason.RECOVERING, "its container ended and is started again"),
    "OOMKilled": (NodePhase.RECOVERING, ClusterReason.OUT_OF_MEMORY, "it used more memory than it gets; raise spec.head.resources.memory"),
    "HeadPodRunningAndReady": (NodePhase.STARTING, None, "KubeRay says that it is ready, but its pod is not to be seen"),
}
"""Reasons of the condition HeadPodReady that are KubeRay's own, and how a container ended; the rest is the kubelet's (WAITING)."""

_POD_NAME = re.compile(r"(FailedCreate\w+\s+)?pods? \"[^\"]+\" (is forbidden: )?")
"""Begins what ReplicaFailure says. The name is another at each try: left in, the message would change for ever."""


def once_ready(live: Object) -> bool:
    """Whether all of it was up once since it was made, or since it was suspended."""
    provisioned = condition(live, "RayClusterProvisioned")
    return provisioned.get("status") == "True" if provisioned else at(live, "status", "state") == "ready"


def suspended(cluster: MatrixCluster, live: Object, pods: Iterable[Object]) -> Finding | None:
    """Of a cluster that has no pods because it is not to have any. `state` stays `suspended` until all pods are ready again, so the spec
    counts."""
    pods, queue, stopped = list(pods), label(live, QUEUE_LABEL), bool(at(live, "spec", "suspend"))
    if queue and stopped:
        where = f"kubectl get workloads -n {live['metadata'].get('namespace', '')}"
        return Finding(NodePhase.STARTING, ClusterReason.QUEUED, f"Kueue's queue {queue} has not admitted the cluster; see `{where}`")
    if cluster.spec.suspend:
        what = f"its pods are being ended ({listed(pods)})" if pods else "no pod runs; set spec.suspend to false to start it"
        return Finding(NodePhase.FAILED, ClusterReason.SUSPENDED, what)
    if stopped:
        return Finding(NodePhase.STARTING, ClusterReason.STARTING, "it is about to be started again")
    if is_true(live, "RayClusterSuspending"):
        return Finding(NodePhase.STARTING, ClusterReason.STARTING, "it is still being suspended, which can't be broken off; then it starts")
    return None


def head_without_pod(live: Object) -> Finding:
    """Of a head whose pod is not seen: what could not be made, else what KubeRay says of it."""
    failure = replica_failure(live)
    if failure:
        return failure
    ready = condition(live, "HeadPodReady") or {}
    reason, message = ready.get("reason", "HeadPodNotFound"), ready.get("message", "")
    if reason in WAITING:
        return waiting_in_words(reason, message)
    told = f"its pod is not ready ({': '.join(filter(None, (reason, message)))})"
    phase, cause, words = HEAD_POD_READY.get(reason, (NodePhase.STARTING, None, told))
    if phase is NodePhase.STARTING and once_ready(live):
        return Finding(NodePhase.RECOVERING, ClusterReason.RECOVERING, words)
    return Finding(phase, cause, words)


def replica_failure(live: Object) -> Finding | None:
    """Why pods can't be made. The condition is there only as long as it is so."""
    if not is_true(live, "ReplicaFailure"):
        return None
    said = _POD_NAME.sub("", (condition(live, "ReplicaFailure") or {}).get("message", ""))
    if "exceeded quota" in said:
        advice = "lower the resources or the number of workers, or ask for a larger quota (kubectl describe quota)"
        return Finding(NodePhase.STARTING, ClusterReason.INSUFFICIENT_RESOURCES, f"a quota refuses them ({said}); {advice}")
    return Finding(NodePhase.STARTING, ClusterReason.START_FAILED, f"they can't be made ({said}); it is tried again")
