"""The statuses that a kubelet writes into pods. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from tests.lab.kuberay.client import Object
from tests.lab.kuberay.faults import Ended
from tests.lab.kuberay.status import timestamp

State = dict[str, Any]
NOT_READY = "ContainersNotReady"
SANDBOX = "PodReadyToStartContainers"


def waiting(reason: str, message: str = "") -> State:
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def running() -> State:
    return {"running": {"startedAt": timestamp()}}


def terminated(ended: Ended) -> State:
    now = timestamp()
    found = {"reason": ended.reason, "exitCode": ended.exit_code, "startedAt": now, "finishedAt": now}
    return {"terminated": found | ({"message": ended.message} if ended.message else {})}


def being_made(pod: Object, address: str, state: State, init: State | None = None, *, sandbox: bool = True) -> Object:
    """All containers are in `state`, the init containers in `init`, if there are any. `sandbox`: it has got its volumes and its network."""
    found = _status(
        pod, address, "Pending", lambda name: _entry(pod, name, state), lambda name: _entry(pod, name, init or waiting("PodInitializing"))
    )
    if not sandbox:
        next(entry for entry in found["conditions"] if entry["type"] == SANDBOX)["status"] = "False"
    return found


def complaint(pod: Object, message: str) -> Object:
    """The event that a kubelet posts about a volume."""
    namespace, name, now = pod["metadata"]["namespace"], pod["metadata"]["name"], timestamp()
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": pod["metadata"]["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "involvedObject": about,
        "type": "Warning",
        "reason": "FailedMount",
        "message": message,
        "source": {"component": "kubelet", "host": pod["spec"]["nodeName"]},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def up(pod: Object, address: str, *, ready: bool, restarted: bool = False) -> Object:
    """All containers run. `restarted`: those that had ended run again."""

    def entry(name: str) -> Object:
        before = container(pod, name)
        if restarted and "terminated" in before.get("state", {}):
            found = _entry(pod, name, running(), ready=ready, started=True)
            return found | {"restartCount": before.get("restartCount", 0) + 1, "lastState": before["state"]}
        return _entry(pod, name, before["state"] if "running" in before.get("state", {}) else running(), ready=ready, started=True)

    done = terminated(Ended("Completed", 0))
    return _status(pod, address, "Running", entry, lambda name: _entry(pod, name, done, ready=True))


def hurt(pod: Object, name: str, state: State, *, phase: str = "Running") -> Object:
    """One container is in that state, the others as they were."""

    def entry(other: str) -> Object:
        before = container(pod, other)
        return before if other != name else before | {"state": state, "ready": False, "started": False}

    return _status(pod, pod["status"].get("podIP", ""), phase, entry, lambda other: container(pod, other))


def crash_loop(pod: Object, name: str, ended: Ended) -> Object:
    """It ended soon after each of its starts."""
    found = hurt(pod, name, waiting("CrashLoopBackOff", f"back-off 10s restarting failed container={name} pod={pod['metadata']['name']}"))
    for entry in found["containerStatuses"]:
        if entry["name"] == name:
            entry |= {"lastState": terminated(ended), "restartCount": entry["restartCount"] + 1}
    return found


def evicted(pod: Object, message: str) -> Object:
    """The kubelet has given it up."""
    return {"phase": "Failed", "reason": "Evicted", "message": message, "conditions": _conditions(pod, up=False, ready=False)}


def lost(pod: Object) -> Object:
    """What the node controller makes of the last word of a machine that went silent."""
    change = {"status": "False", "lastTransitionTime": timestamp()}
    return {"conditions": [entry | (change if entry["type"] == "Ready" else {}) for entry in pod["status"].get("conditions", ())]}


def container(pod: Object, name: str) -> Object:
    """What is known of a container, of either sort."""
    statuses = (*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ()))
    return next((dict(entry) for entry in statuses if entry["name"] == name), {})


def _status(pod: Object, address: str, phase: str, entry: Callable[[str], Object], init_entry: Callable[[str], Object]) -> Object:
    containers = [entry(spec["name"]) for spec in pod["spec"]["containers"]]
    inits = [init_entry(spec["name"]) for spec in pod["spec"].get("initContainers", ())]
    ready = all(found["ready"] for found in containers)
    found = {
        "phase": phase,
        "conditions": _conditions(pod, up=phase == "Running", ready=ready),
        "startTime": pod["status"].get("startTime") or timestamp(),
        "containerStatuses": containers,
    }
    where = {"hostIP": "127.0.0.1", "podIP": address, "podIPs": [{"ip": address}]} if phase == "Running" and address else {}
    return found | where | ({"initContainerStatuses": inits} if inits else {})


def _entry(pod: Object, name: str, state: State, *, ready: bool = False, started: bool = False) -> Object:
    spec = next(spec for spec in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]) if spec["name"] == name)
    before = container(pod, name)
    return {
        "name": name,
        "image": spec["image"],
        "imageID": spec["image"] if ready or started else "",
        "restartCount": before.get("restartCount", 0),
        "state": state,
        "lastState": before.get("lastState", {}),
        "ready": ready,
        "started": started,
    }


def _conditions(pod: Object, *, up: bool, ready: bool) -> list[Object]:
    before = {entry["type"]: entry for entry in pod["status"].get("conditions", ())}
    holds = {SANDBOX: True, "Initialized": up, "Ready": ready, "ContainersReady": ready}
    found = [entry for type_, entry in before.items() if type_ not in holds]  # PodScheduled is the scheduler's
    for type_, value in holds.items():
        reason = {} if value or type_ == "Initialized" else {"reason": NOT_READY, "message": "containers with unready status"}
        same = before.get(type_, {}).get("status") == str(value)
        time = before[type_]["lastTransitionTime"] if same else timestamp()
        found.append({"type": type_, "status": str(value), "lastTransitionTime": time, **reason})
    return found
