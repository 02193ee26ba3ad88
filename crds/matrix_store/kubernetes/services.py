"""Which pod answers for a Service, as `kubectl port-forward svc/NAME` finds it: by the Service's selector, without its endpoints. One
without a selector says in its EndpointSlices where it leads: for a cluster at a Slurm site to the pod of the operator that acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matrix_store.errors import Forbidden, NotFound, Unavailable
from matrix_store.kubernetes.api import Api
from matrix_store.port import Raw


@dataclass(frozen=True)
class Behind:
    """A pod, and the port of it that the Service's one leads to."""

    pod: str
    port: int
    namespace: str = ""
    """The pod's, where it is another than the Service's."""


class NobodyBehind(Unavailable):
    """No pod of the Service runs now. One may a moment later."""


async def behind(api: Api, namespace: str, service: str, port: int) -> Behind:
    """Of several pods the readiest one, and of these the newest. Raises NobodyBehind, NotFound, Forbidden, Unavailable."""
    try:
        spec = (await api.get(f"/api/v1/namespaces/{namespace}/services/{service}")).get("spec") or {}
        selector = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
        if not selector:
            return await _written_down(api, namespace, service, spec, port)
        pods, _ = await api.list_all(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)
    except NotFound as error:
        raise NobodyBehind(f"there is no Service {service} in namespace {namespace} (yet)") from error
    except Forbidden as error:
        raise Forbidden(f"{error} with `get` on services and `list` on pods") from error
    pod = choose(pods)
    if pod is None:
        raise NobodyBehind(_nobody(service, pods))
    return Behind(str(pod["metadata"]["name"]), _target(spec, port, pod))


def choose(pods: Sequence[Raw]) -> Raw | None:
    """The best one that runs. Pure."""
    running = [pod for pod in pods if _phase(pod) == "Running" and not pod["metadata"].get("deletionTimestamp")]
    return max(running, key=lambda pod: (_ready(pod), str(pod["metadata"].get("creationTimestamp", ""))), default=None)


async def _written_down(api: Api, namespace: str, service: str, spec: Raw, port: int) -> Behind:
    """Raises NobodyBehind."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    slices, _ = await api.list_all(path, labelSelector=f"kubernetes.io/service-name={service}")
    name = next((entry.get("name") for entry in spec.get("ports") or () if entry.get("port") == port), None)
    for found in slices:
        number = next((entry["port"] for entry in found.get("ports") or () if entry.get("name") == name), None)
        for endpoint in found.get("endpoints") or ():
            target = endpoint.get("targetRef") or {}
            if number is not None and target.get("kind") == "Pod":
                return Behind(str(target["name"]), int(number), str(target.get("namespace") or namespace))
    raise NobodyBehind(f"no pod is written down behind Service {service} (yet)")


def _nobody(service: str, pods: Sequence[Raw]) -> str:
    states = sorted({"being deleted" if pod["metadata"].get("deletionTimestamp") else _phase(pod) for pod in pods})
    return f"no pod runs behind Service {service}: {f'there is one that is {states[0]}' if states else 'there is none'}"


def _phase(pod: Raw) -> str:
    return str((pod.get("status") or {}).get("phase", "Unknown"))


def _ready(pod: Raw) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _target(spec: Raw, port: int, pod: Raw) -> int:
    """The container's port: a Service may lead to it by number, by name, or be headless, which leads nowhere else."""
    entry = next((entry for entry in spec.get("ports") or () if entry.get("port") == port), None)
    target: Any = None if entry is None or spec.get("clusterIP") == "None" else entry.get("targetPort")
    if isinstance(target, int):
        return target
    containers = (pod.get("spec") or {}).get("containers") or ()
    named = (listed for container in containers for listed in container.get("ports") or () if listed.get("name") == target)
    return next((int(listed["containerPort"]) for listed in named if target), port)
