"""What makes a pod of KubeRay's run: the generated `ray start`, the wait for the head, probes and shared memory. Pure.

As the pods of KubeRay 1.7 have them, for images with bash and ray; whatever entrypoint the image has is replaced.
"""

from __future__ import annotations

from matrix_crds.quantity import whole
from tests.lab.kuberay.client import Object

_SHELL = ["/bin/bash", "-c", "--"]
_LIMIT_FILES = "ulimit -n ${RAY_START_ULIMIT_OPEN_FILES:-65536}"
_AGENT_PORT = 52365
_SHARED_MEMORY = {"name": "shared-mem", "mountPath": "/dev/shm"}
_PERIOD = {"periodSeconds": 5, "timeoutSeconds": 2}
_PROBES = {
    "readinessProbe": {"initialDelaySeconds": 10, "failureThreshold": 10, **_PERIOD},
    "livenessProbe": {"initialDelaySeconds": 30, "failureThreshold": 120, **_PERIOD},
}


def start(spec: Object, params: Object, address: str) -> Object:
    """The pod's spec with Ray started in its first container; `address` is the GCS's for a worker, empty for the head."""
    ray, *others = spec["containers"]
    command = f"{_LIMIT_FILES}; ray start {'' if address else '--head '}{_options(ray, params, address)}"
    health = {"httpGet": {"path": "/api/healthz", "port": _AGENT_PORT}}
    probes = {name: {**health, **probe} for name, probe in _PROBES.items()}
    ray = {**probes, **ray, "command": _SHELL, "args": [command]}
    if all(mount["mountPath"] != _SHARED_MEMORY["mountPath"] for mount in ray.get("volumeMounts", [])):
        ray["volumeMounts"] = [*ray.get("volumeMounts", []), _SHARED_MEMORY]
        volume: Object = {"name": _SHARED_MEMORY["name"], "emptyDir": {"medium": "Memory"}}
        spec = {**spec, "volumes": [*spec.get("volumes", []), volume]}
    return {**spec, "containers": [ray, *others]}


def wait(address: str) -> Object:
    """Of the init container of a worker: it ends when the GCS answers."""
    return {"command": _SHELL, "args": [f"until ray health-check --address {address}; do sleep 5; done"]}


def _options(ray: Object, params: Object, address: str) -> str:
    resources = ray.get("resources", {})
    amounts = {**resources.get("requests", {}), **resources.get("limits", {})}
    options = {"block": "true", "dashboard-agent-listen-port": str(_AGENT_PORT), "metrics-export-port": "8080"}
    options |= {"address": address} if address else {"dashboard-host": "0.0.0.0"}
    if "cpu" in amounts:
        options["num-cpus"] = str(whole(str(amounts["cpu"])))
    if "memory" in resources.get("limits", {}):
        options["memory"] = str(whole(str(resources["limits"]["memory"])))
    options |= params
    return " ".join(f"--{name}" if value == "true" else f"--{name}={value}" for name, value in sorted(options.items()))
