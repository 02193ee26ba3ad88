"""Why a pod does not get as far as its containers: a volume, the Secret of one, its network. The kubelet says it in events alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.containers import MISSING, Finding
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.reading import condition, is_ending, is_true, items, moment
from matrix_operator.backends.kuberay.rejection import last_seen
from matrix_operator.backends.port import NodePhase

HANGS = timedelta(seconds=10)
"""So long after it was placed a pod usually has its volumes and network. A Secret that was made a moment ago takes a second or two."""
REASONS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")
"""What the kubelet and the attach controller post before the first container (k8s.io/kubernetes/pkg/kubelet/events)."""


def hangs(pod: Object, now: datetime) -> bool:
    """Whether it has had a machine for a while, and that has not got as far as its network, which comes after the volumes (condition
    PodReadyToStartContainers): neither an image that is pulled nor a container that fails."""
    placed = condition(pod, "PodScheduled") or {}
    since = moment(placed.get("lastTransitionTime"))
    if placed.get("status") != "True" or since is None or now - since < HANGS or is_ending(pod):
        return False
    waits = (pod.get("status") or {}).get("phase") == "Pending" and not is_true(pod, "PodReadyToStartContainers")
    return waits and not any("waiting" not in (status.get("state") or {}) for status in _containers(pod))


def latest(events: Iterable[Object]) -> Object | None:
    """The last complaint of that kind among a pod's events."""
    return max((event for event in events if event.get("reason") in REASONS), key=last_seen, default=None)


def in_words(event: Object) -> Finding:
    """What the kubelet complains of."""
    said = " ".join(str(event.get("message") or "").split())
    if MISSING.search(said):
        return Finding(NodePhase.FAILED, ClusterReason.SECRET_MISSING, f"{said}; make it, the pod then starts by itself")
    return Finding(NodePhase.STARTING, ClusterReason.START_FAILED, f"the pod is held up: {said}; it is tried again by itself")


def _containers(pod: Object) -> list[Object]:
    return [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]
