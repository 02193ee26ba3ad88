"""The status that KubeRay writes, with all that misleads about it. Pure.

Made after what was seen of KubeRay and the function calculateStatus of its controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tests.lab.kuberay.client import Object
from tests.lab.kuberay.made import NODE_TYPE, PORTS, service_name

PROVISIONED, SUSPENDING, SUSPENDED = "RayClusterProvisioned", "RayClusterSuspending", "RayClusterSuspended"
HEAD_READY, FAILURE = "HeadPodReady", "ReplicaFailure"
_FIRST_TIME = "RayCluster Pods are being provisioned for first time"
_ALL_READY = "All Ray Pods are ready for the first time"
_MAXIMUM = 2**31 - 1


def timestamp() -> str:
    """Now, in whole seconds, as metav1.Time is written."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def desired(group: Object) -> int:
    """The wish of a group, held between its limits without a word."""
    if group.get("suspend"):
        return 0
    wish = max(group.get("replicas", 0), group.get("minReplicas", 0))
    return int(min(wish, group.get("maxReplicas", _MAXIMUM)) * max(group.get("numOfHosts", 1), 1))


def suspension(cluster: Object) -> str:
    """SUSPENDING, SUSPENDED or nothing."""
    return next((name for name in (SUSPENDING, SUSPENDED) if is_true(cluster.get("status", {}), name)), "")


def new_status(cluster: Object, pods: Sequence[Object], failure: tuple[str, str] | None) -> Object:
    """`failure`: reason and message of pods that could not be made or deleted."""
    before: Object = cluster.get("status", {})
    groups = cluster["spec"].get("workerGroupSpecs", [])
    workers = [pod for pod in pods if _type(pod) == "worker"]
    counts = {
        "desiredWorkerReplicas": sum(map(desired, groups)),
        "minWorkerReplicas": sum(group.get("minReplicas", 0) for group in groups if not group.get("suspend")),
        "maxWorkerReplicas": min(sum(group.get("maxReplicas", _MAXIMUM) for group in groups if not group.get("suspend")), _MAXIMUM),
        "availableWorkerReplicas": sum(is_running(pod) for pod in workers),
        "readyWorkerReplicas": sum(is_running(pod) and is_true(pod["status"], "Ready") for pod in workers),
    }
    state = _state(cluster, pods, counts["desiredWorkerReplicas"], failure)
    found = {
        "conditions": _conditions(cluster, pods, failure),
        "endpoints": {name: str(port) for name, port in PORTS.items()},
        "head": _head(cluster, pods),
        "observedGeneration": cluster["metadata"]["generation"],
        **{name: count for name, count in counts.items() if count},  # a zero is left out
        **({"state": state} if state else {}),
    }
    transitions = dict(before.get("stateTransitionTimes", {}))
    if state and state != before.get("state"):
        transitions[state] = timestamp()
    return found | {"lastUpdateTime": timestamp()} | ({"stateTransitionTimes": transitions} if transitions else {})


def is_news(before: Object, after: Object) -> bool:
    """A difference in nothing but the generation and the time is not worth a write to KubeRay."""
    ignored = {"lastUpdateTime", "observedGeneration", "stateTransitionTimes"}
    return any(before.get(name) != after.get(name) for name in {*before, *after} - ignored)


def is_running(pod: Object) -> bool:
    return bool(pod["status"].get("phase") == "Running")


def is_true(status: Object, type_: str) -> bool:
    return any(entry["type"] == type_ and entry["status"] == "True" for entry in status.get("conditions", ()))


def _type(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get(NODE_TYPE))


def _state(cluster: Object, pods: Sequence[Object], workers: int, failure: object) -> str:
    """What it was, unless all are ready now, or none is there and none is to be."""
    if cluster["spec"].get("suspend") and not pods:
        return "suspended"
    if failure is None and len(pods) == workers + 1 and _all_running(pods):
        return "ready"
    return str(cluster.get("status", {}).get("state", ""))


def _all_running(pods: Sequence[Object]) -> bool:
    """Of those that are there; how many there should be is not asked."""
    return bool(pods) and all(is_running(pod) and not _is_false(pod["status"], "Ready") for pod in pods)


def _is_false(status: Object, type_: str) -> bool:
    return any(entry["type"] == type_ and entry["status"] != "True" for entry in status.get("conditions", ()))


def _head(cluster: Object, pods: Sequence[Object]) -> Object:
    """The Service is headless, so its address is the pod's."""
    head = next((pod for pod in pods if _type(pod) == "head"), None)
    found = {"serviceName": service_name(cluster)}
    if head:
        address = head["status"].get("podIP", "")
        found |= {"podName": head["metadata"]["name"]} | ({"podIP": address, "serviceIP": address} if address else {})
    return found


# --- conditions ---


def _conditions(cluster: Object, pods: Sequence[Object], failure: tuple[str, str] | None) -> list[Object]:
    known = {entry["type"]: entry for entry in cluster.get("status", {}).get("conditions", [])}
    known.pop(FAILURE, None) if failure is None else _set(known, FAILURE, True, *failure)
    _set_head(known, pods)
    was = suspension(cluster)
    if not _holds(known, PROVISIONED) and was != SUSPENDED:
        ready = _all_running(pods)
        _set(
            known,
            PROVISIONED,
            ready,
            *(("AllPodRunningAndReadyFirstTime", _ALL_READY) if ready else ("RayClusterPodsProvisioning", _FIRST_TIME)),
        )
    _set_suspension(known, was, wished=cluster["spec"].get("suspend"), pods=pods)
    return list(known.values())


def _set_suspension(known: dict[str, Object], was: str, *, wished: bool | None, pods: Sequence[Object]) -> None:
    if was == SUSPENDING:
        if not pods:
            _set(known, PROVISIONED, False, "RayClusterPodsProvisioning", "RayCluster has been suspended")
            _set(known, SUSPENDING, False, SUSPENDING)
            _set(known, SUSPENDED, True, SUSPENDED)
    elif was == SUSPENDED:
        if wished is False:
            _set(known, SUSPENDED, False, SUSPENDED)
    else:
        _set(known, SUSPENDED, False, SUSPENDED)
        _set(known, SUSPENDING, bool(wished), SUSPENDING)


def _set_head(known: dict[str, Object], pods: Sequence[Object]) -> None:
    head = next((pod for pod in pods if _type(pod) == "head"), None)
    if head is None:
        _set(known, HEAD_READY, False, "HeadPodNotFound", "Head Pod not found")
        return
    ready = next((entry for entry in head["status"].get("conditions", ()) if entry["type"] == "Ready"), {"status": "False"})
    reason, message = ready.get("reason", ""), ready.get("message", "")
    if reason == "ContainersNotReady":
        reason, message = _container(head, reason, message)
    holds = ready["status"] == "True"
    _set(known, HEAD_READY, holds, reason or ("HeadPodRunningAndReady" if holds else "Unknown"), message)


def _container(head: Object, reason: str, message: str) -> tuple[str, str]:
    """Of the first container that does not run, what the kubelet says."""
    for entry in (*head["status"].get("initContainerStatuses", ()), *head["status"].get("containerStatuses", ())):
        state = entry.get("state", {}).get("waiting") or entry.get("state", {}).get("terminated")
        if state and not entry.get("ready"):
            said = f"{entry['name']}: {state['message']}" if state.get("message") else ""
            return str(state["reason"]), "; ".join(filter(None, (message, said)))
    return reason, message


def _holds(known: dict[str, Object], type_: str) -> bool:
    return bool(known.get(type_, {}).get("status") == "True")


def _set(known: dict[str, Object], type_: str, holds: bool, reason: str, message: str = "") -> None:
    """The time changes with the status alone, as for every metav1.Condition."""
    status, before = str(bool(holds)), known.get(type_, {})
    time = before["lastTransitionTime"] if before.get("status") == status else timestamp()
    known[type_] = {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": time}
