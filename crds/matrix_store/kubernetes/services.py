"""Which pod answers for a Service, as `kubectl port-forward svc/NAME` finds it: by the Service's selector, without its endpoints."""

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


class NobodyBehind(Unavailable):
    """No pod of the Service runs now. One may a moment later."""


async def behind(api: Api, namespace: str, service: str, port: int) -> Behind:
    """Of several pods the readiest one, and of these the newest. Raises NobodyBehind, NotFound, Forbidden, Unavailable."""
    try:
        spec = (await api.get(f"/api/v1/namespaces/{namespace}/services/{service}")).get("spec") or {}
        selector = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
        pods, _ = await api.list_all(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector) if selector else ([], "")
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
