"""Where objects are in the Kubernetes API."""

from __future__ import annotations

from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_crds.registry import KINDS

PLURALS = {info.kind: info.plural for info in KINDS}
GROUP_VERSION = f"/apis/{API_VERSION}"
CORE_EVENTS = "/api/v1/events"


def collection(kind: str, namespace: str | None = None) -> str:
    """All objects of a kind, of one namespace or of all. The kind must be one of PLURALS."""
    within = "" if namespace is None else f"/namespaces/{namespace}"
    return f"/apis/{API_VERSION}{within}/{PLURALS[kind]}"


def of(key: ObjectKey, subresource: str = "") -> str:
    """One object, or a part of it, such as `status`."""
    path = f"{collection(key.kind, key.namespace)}/{key.name}"
    return f"{path}/{subresource}" if subresource else path


def events(namespace: str | None = None) -> str:
    return CORE_EVENTS if namespace is None else f"/api/v1/namespaces/{namespace}/events"
