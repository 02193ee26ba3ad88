"""From a pod to what the backend says of a node. Pure, with literal tables."""

from __future__ import annotations

from datetime import datetime, timedelta

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay import mounts
from matrix_operator.backends.kuberay.containers import Finding, container_finding, ended_words
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.reading import at, condition, count, created, is_ending, is_true, items, moment, name_of
from matrix_operator.backends.port import NodePhase, NodeState

SLOW_START = timedelta(minutes=2)
"""A container that is being made for longer most often waits for a large image; where no event says so either, a person has to look."""

_UNBOUND = "a claim has no volume yet: `kubectl describe pvc -n {namespace}` says why; it starts by itself when the claim is bound"
CLAIMS: tuple[tuple[str, str], ...] = (
    ("persistentvolumeclaim", "correct the claim's name in spec.storage or spec.modelCache, or make the claim; it then starts by itself"),
    ("unbound immediate PersistentVolumeClaims", _UNBOUND),
    ("available persistent volumes to bind", _UNBOUND),
    (
        "volume node affinity conflict",
        "a claim's volume is on another machine than those with room; use a volume that all nodes can mount, or one claim for each cluster",
    ),
)
"""What the scheduler says of volumes (k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding), and what to do about it."""

_ROOM = "lower its resources or accelerator in the manifest, or add machines; it starts by itself when there is room"
_ANOTHER = "KubeRay makes another pod"

GIVEN_UP: dict[str, tuple[ClusterReason, str]] = {
    "Evicted": (ClusterReason.EVICTED, "Kubernetes evicted the pod"),
    "Preempting": (ClusterReason.EVICTED, "the pod had to make room for one of higher priority"),
    "Shutdown": (ClusterReason.EVICTED, "the pod's machine is being shut down"),
    "NodeShutdown": (ClusterReason.EVICTED, "the pod's machine is being shut down"),
    "Terminated": (ClusterReason.EVICTED, "the pod's machine is being shut down"),
    "NodeLost": (ClusterReason.NODE_LOST, "the pod's machine does not answer any more"),
    "NodeAffinity": (ClusterReason.UNSCHEDULABLE, "the pod's machine has other labels now than the pod asks for"),
    "UnexpectedAdmissionError": (ClusterReason.START_FAILED, "the pod's machine refused it"),
    "OutOfcpu": (ClusterReason.UNSCHEDULABLE, "the pod's machine has not the cpu any more"),
    "OutOfmemory": (ClusterReason.UNSCHEDULABLE, "the pod's machine has not the memory any more"),
    "OutOfpods": (ClusterReason.UNSCHEDULABLE, "the pod's machine takes no more pods"),
}
"""`status.reason` of a pod that Kubernetes gave up (k8s.io/kubernetes/pkg/kubelet: eviction, nodeshutdown, lifecycle)."""

DISRUPTED: dict[str, tuple[ClusterReason, str]] = {
    "PreemptionByScheduler": (ClusterReason.EVICTED, "the pod has to make room for one of higher priority"),
    "DeletionByTaintManager": (ClusterReason.NODE_LOST, "the pod's machine does not answer or is not to be used any more (a taint)"),
    "EvictionByEvictionAPI": (ClusterReason.EVICTED, "the pod's machine is being emptied (kubectl drain, or its autoscaler)"),
    "DeletionByPodGC": (ClusterReason.NODE_LOST, "the pod's machine is gone"),
    "TerminationByKubelet": (ClusterReason.EVICTED, "the pod's machine is short of something, or is being shut down"),
}
"""Reasons of the condition DisruptionTarget (kubernetes.io, "Disruptions": Pod disruption conditions)."""


def node_state(pod: Object, *, was_ready: bool, now: datetime, complaint: Object | None = None) -> NodeState:
    """`was_ready`: the cluster was up once, so what does not run now is being brought back. `complaint`: the event that says what holds it
    up before its containers."""
    ready = condition(pod, "Ready")
    if is_true(pod, "Ready") and not is_ending(pod):
        return NodeState(name_of(pod), NodePhase.RUNNING, _since(ready) or created(pod))
    found = _finding(pod, now, complaint)
    phase = NodePhase.RECOVERING if was_ready and found.phase is NodePhase.STARTING else found.phase
    reason = found.reason or (ClusterReason.RECOVERING if phase is NodePhase.RECOVERING else None)
    return NodeState(name_of(pod), phase, _ending_since(pod) or _since(ready) or created(pod), reason, found.message)


def _finding(pod: Object, now: datetime, complaint: Object | None) -> Finding:
    if is_ending(pod):
        return _ending(pod)
    if at(pod, "status", "phase") in ("Failed", "Succeeded"):
        return _over(pod)
    held_up = mounts.in_words(complaint) if complaint else None
    return _unscheduled(pod) or _lost(pod) or held_up or _in_words(pod, now)


def _ending(pod: Object) -> Finding:
    reason, why = _disruption(pod) or (ClusterReason.RECOVERING, "the pod is being deleted")
    return Finding(NodePhase.RECOVERING, reason, f"{why}; {_ANOTHER} when it is gone")


def _over(pod: Object) -> Finding:
    """Its phase is Failed or Succeeded. KubeRay deletes such a pod whatever its restartPolicy, and makes another."""
    given_up = GIVEN_UP.get(at(pod, "status", "reason") or "") or _disruption(pod)
    if given_up:
        said = at(pod, "status", "message")
        return Finding(NodePhase.RECOVERING, given_up[0], f"{given_up[1]}{f' ({said})' if said else ''}; {_ANOTHER}")
    statuses = [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]
    ended = [entry["state"]["terminated"] for entry in statuses if at(entry, "state", "terminated")]
    worst = next((entry for entry in ended if entry.get("exitCode")), ended[0] if ended else {})
    found = ended_words(worst)
    return Finding(found.phase, found.reason, f"the pod {found.message}; {_ANOTHER}")


def _disruption(pod: Object) -> tuple[ClusterReason, str] | None:
    return DISRUPTED.get((condition(pod, "DisruptionTarget") or {}).get("reason", "")) if is_true(pod, "DisruptionTarget") else None


def _unscheduled(pod: Object) -> Finding | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None:
        return Finding(NodePhase.STARTING, None, "its pod waits for the scheduler") if not at(pod, "spec", "nodeName") else None
    if scheduled.get("status") == "True":
        return None
    said = scheduled.get("message") or "no more is said"
    if scheduled.get("reason") == "SchedulingGated":
        return Finding(NodePhase.STARTING, ClusterReason.QUEUED, f"its pod is held back by a scheduling gate ({said})")
    advice = next((words for part, words in CLAIMS if part in said), _ROOM).format(namespace=pod["metadata"].get("namespace", ""))
    return Finding(NodePhase.STARTING, ClusterReason.UNSCHEDULABLE, f"no machine takes its pod ({said}); {advice}")


def _lost(pod: Object) -> Finding | None:
    """Of a machine that went silent nothing is known but this: the node controller has set Ready to False over the kubelet's last word
    that all containers were ready."""
    ready = condition(pod, "Ready") or {}
    if not is_true(pod, "ContainersReady") or ready.get("reason"):
        return None
    machine = at(pod, "spec", "nodeName")
    message = f"its machine {machine} does not answer; if it does not come back, Kubernetes gives the pod up after 5 minutes"
    return Finding(NodePhase.RECOVERING, ClusterReason.NODE_LOST, message)


def _in_words(pod: Object, now: datetime) -> Finding:
    """Of a pod that has a machine, by its containers."""
    found = container_finding(pod)
    if found is None:
        return _not_ready(pod)
    inits = items(pod, "status", "initContainerStatuses")
    if found.reason is not None:
        return found
    if any(at(entry, "state", "running") for entry in inits):
        return Finding(found.phase, None, "it waits for the head to answer")
    if any(at(entry, "state", "terminated") for entry in inits) or now - created(pod) < SLOW_START:
        return found
    where = f"kubectl describe pod {name_of(pod)} -n {pod['metadata'].get('namespace', '')}"
    return Finding(found.phase, None, f"{found.message}, for long: its image may be large; `{where}` tells")


def _not_ready(pod: Object) -> Finding:
    """Its containers run, but do not answer (yet)."""
    last = [entry for entry in items(pod, "status", "containerStatuses") if at(entry, "lastState", "terminated")]
    if last:
        ended = ended_words(last[0]["lastState"]["terminated"])
        times = count(last[0], "restartCount")
        return Finding(ended.phase, ended.reason, f"its container {ended.message}; it was started again ({times} times so far)")
    return Finding(NodePhase.STARTING, None, "Ray starts in it")


def _since(found: Object | None) -> datetime | None:
    return moment((found or {}).get("lastTransitionTime"))


def _ending_since(pod: Object) -> datetime | None:
    """A deletionTimestamp is when the grace is over."""
    over = moment(at(pod, "metadata", "deletionTimestamp"))
    return over - timedelta(seconds=count(pod, "metadata", "deletionGracePeriodSeconds")) if over else None
