"""Where things are in the Kubernetes API."""

from __future__ import annotations

from matrix_operator.backends.kuberay.names import RAY_API_VERSION

_PREFIXES = {
    "RayCluster": (f"/apis/{RAY_API_VERSION}", "rayclusters"),
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
    "Secret": ("/api/v1", "secrets"),
    "Event": ("/api/v1", "events"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
}


def collection(kind: str, namespace: str | None) -> str:
    """All objects of a kind, of one namespace or of all."""
    prefix, plural = _PREFIXES[kind]
    return f"{prefix}/{plural}" if namespace is None else f"{prefix}/namespaces/{namespace}/{plural}"


def one(kind: str, namespace: str, name: str) -> str:
    return f"{collection(kind, namespace)}/{name}"


def through_service(namespace: str, service: str, port: int) -> str:
    """The API server's proxy to whatever pod stands behind a Service (Kubernetes, "Access Services Running on Clusters")."""
    return f"{one('Service', namespace, service)}:{port}/proxy"
