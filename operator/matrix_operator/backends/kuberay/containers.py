"""Why a container does not run: the kubelet's reasons, as literal tables. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.reading import at, count, items
from matrix_operator.backends.port import NodePhase


@dataclass(frozen=True)
class Finding:
    """What is wrong with a pod, or what it waits for."""

    phase: NodePhase
    reason: ClusterReason | None
    message: str


_PULLING = "the image {image} can't be pulled ({why}); correct spec.backend.kubernetes.image, or the operator's imagePullSecrets"
_CONFIGURING = "the container can't be made ({why}); correct that, it is tried again by itself"
_CRASHING = "the container ends soon after each start ({why}); see `kubectl logs {pod} -n {namespace} -c {container} --previous`"

WAITING: dict[str, tuple[NodePhase, ClusterReason | None, str]] = {
    "ContainerCreating": (NodePhase.STARTING, None, "its container is being made"),
    "PodInitializing": (NodePhase.STARTING, None, "its container waits for the init containers"),
    "ErrImagePull": (NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, _PULLING),
    "ImagePullBackOff": (NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, _PULLING),
    "ErrImageNeverPull": (NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, _PULLING),
    "InvalidImageName": (NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, _PULLING),
    "ImageInspectError": (NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, _PULLING),
    "RegistryUnavailable": (NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, _PULLING),
    "SignatureValidationFailed": (NodePhase.FAILED, ClusterReason.IMAGE_PULL_FAILED, _PULLING),
    "CreateContainerConfigError": (NodePhase.FAILED, ClusterReason.START_FAILED, _CONFIGURING),
    "CreateContainerError": (NodePhase.FAILED, ClusterReason.START_FAILED, _CONFIGURING),
    "RunContainerError": (NodePhase.FAILED, ClusterReason.START_FAILED, _CONFIGURING),
    "PostStartHookError": (NodePhase.FAILED, ClusterReason.START_FAILED, _CONFIGURING),
    "CrashLoopBackOff": (NodePhase.FAILED, ClusterReason.START_FAILED, _CRASHING),
}
"""`state.waiting.reason` (k8s.io/kubernetes/pkg/kubelet/images and kuberuntime) -> phase, reason, words. {why} are the kubelet's."""

MISSING = re.compile(r"(?i)\b(secret|configmap)\b.*not found|couldn't find key .* in (secret|configmap)|non-existent (secret|config) key")
"""The kubelet's messages, in a CreateContainerConfigError or the event of a volume, that heal when the object appears."""

AUTOSCALER_CONTAINER = "autoscaler"
"""KubeRay's name of Ray's autoscaler, beside the head."""

OUT_OF_MEMORY = "used more memory than it gets and was ended (OOMKilled); raise resources.memory in the manifest"


def waiting_in_words(reason: str, message: str, *, container: str = "", image: str = "", pod: str = "", namespace: str = "") -> Finding:
    """What `state.waiting`, or KubeRay's copy of it, means. A reason that is not known is told as it is."""
    phase, cause, words = WAITING.get(reason, (NodePhase.STARTING, None, "its container waits ({why})"))
    if cause is ClusterReason.START_FAILED and MISSING.search(message):
        return Finding(phase, ClusterReason.SECRET_MISSING, f"{message}; make it, the pod then starts by itself")
    why = f"{reason}: {message}" if message else reason
    return Finding(phase, cause, words.format(why=why, container=container, image=image or "of the nodes", pod=pod, namespace=namespace))


def container_finding(pod: Object) -> Finding | None:
    """The first thing that keeps the pod's containers from running; None if all of them run."""
    for status in _statuses(pod):
        found = _finding(pod, status)
        if found is not None:
            return found
    return None


def ended_words(terminated: Object) -> Finding:
    """How a container ended."""
    if terminated.get("reason") == "OOMKilled":
        return Finding(NodePhase.RECOVERING, ClusterReason.OUT_OF_MEMORY, OUT_OF_MEMORY)
    last = (terminated.get("message") or "").strip().splitlines()[-1:]
    words = f"ended with exit code {count(terminated, 'exitCode')} ({': '.join([terminated.get('reason') or 'Error', *last])})"
    return Finding(NodePhase.RECOVERING, ClusterReason.RECOVERING, words)


def _statuses(pod: Object) -> Iterable[Object]:
    return [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]


def _finding(pod: Object, status: Object) -> Finding | None:
    waiting, terminated, last = (at(status, *path) for path in (("state", "waiting"), ("state", "terminated"), ("lastState", "terminated")))
    if waiting:
        return _waiting(pod, status, waiting, last)
    if terminated and not (terminated.get("exitCode", 0) == 0 and _is_init(pod, status)):
        ended = ended_words(terminated)
        return Finding(ended.phase, ended.reason, f"the container {status['name']} {ended.message}; {_then(pod, status)}")
    return None


def _then(pod: Object, status: Object) -> str:
    """What comes of a container that has ended. KubeRay gives the autoscaler's pod restartPolicy Never, and makes another pod for Ray's own
    container only (shouldDeletePod)."""
    if status["name"] != AUTOSCALER_CONTAINER:
        return "it is started again"
    name, namespace = pod["metadata"]["name"], pod["metadata"].get("namespace", "")
    logs, delete = f"kubectl logs {name} -n {namespace} -c {AUTOSCALER_CONTAINER}", f"kubectl delete pod {name} -n {namespace}"
    return f"nobody starts it again, so no group grows or shrinks: `{logs}` says more, `{delete}` makes a new head with one"


def _waiting(pod: Object, status: Object, waiting: Object, last: Object | None) -> Finding:
    reason, message = waiting.get("reason") or "waiting", waiting.get("message") or ""
    if reason == "CrashLoopBackOff" and last:  # the kubelet's message tells of the waiting, not of the cause
        ended = ended_words(last)
        if ended.reason is ClusterReason.OUT_OF_MEMORY:
            return Finding(NodePhase.FAILED, ended.reason, f"the container {status['name']} {ended.message}")
        message = ended.message
    return waiting_in_words(
        reason,
        message,
        container=status["name"],
        image=status.get("image", ""),
        pod=pod["metadata"]["name"],
        namespace=pod["metadata"].get("namespace", ""),
    )


def _is_init(pod: Object, status: Object) -> bool:
    return any(status is entry for entry in items(pod, "status", "initContainerStatuses"))
