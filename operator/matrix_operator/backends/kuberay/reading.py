"""Small looks into Kubernetes objects, for which a field that is absent and one that is empty are the same."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from matrix_operator.backends.kuberay.names import GROUP_LABEL, HEAD, NODE_TYPE_LABEL, Object


def at(found: Object, *path: str) -> Any:
    """What is there, or None where the path ends early."""
    value: Any = found
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def items(found: Object, *path: str) -> list[Object]:
    """The entries of a list, none if it is absent."""
    return at(found, *path) or []


def count(found: Object, *path: str) -> int:
    """A number of a status: Go leaves out a zero."""
    return int(at(found, *path) or 0)


def name_of(found: Object) -> str:
    return str(found["metadata"]["name"])


def label(found: Object, name: str) -> str:
    return str(at(found, "metadata", "labels", name) or "")


def annotation(found: Object, name: str) -> str:
    return str(at(found, "metadata", "annotations", name) or "")


def moment(text: str | None) -> datetime | None:
    """A time of the wire form (RFC 3339)."""
    return datetime.fromisoformat(text) if text else None


def created(found: Object) -> datetime:
    return datetime.fromisoformat(found["metadata"]["creationTimestamp"])


def is_ending(found: Object) -> bool:
    """It was asked to go."""
    return bool(at(found, "metadata", "deletionTimestamp"))


def condition(found: Object, type_: str) -> Object | None:
    """An entry of status.conditions; None from an operator that does not write it (yet)."""
    return next((entry for entry in items(found, "status", "conditions") if entry.get("type") == type_), None)


def is_true(found: Object, type_: str) -> bool:
    """Whether the condition is there and True."""
    return (condition(found, type_) or {}).get("status") == "True"


def heads(pods: Iterable[Object]) -> list[Object]:
    return [pod for pod in pods if label(pod, NODE_TYPE_LABEL) == HEAD]


def workers(pods: Iterable[Object]) -> list[Object]:
    return [pod for pod in pods if label(pod, NODE_TYPE_LABEL) == "worker"]


def group_of(pod: Object) -> str:
    return label(pod, GROUP_LABEL)
