"""Where the runtime finds things inside the cluster, and how it is reached from inside. Pure: all follows from the name."""

from __future__ import annotations

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay.names import (
    DASHBOARD_PORT,
    DIRECTORY_PORT,
    GATEWAY_PORT,
    STATE_PORT,
    gateway_service,
    head_service,
)
from matrix_operator.backends.kuberay.volumes import CREDENTIALS_DIRECTORY, MODELS_DIRECTORY, SECRETS_DIRECTORY
from matrix_operator.backends.port import PublicAddress, RuntimeLayout

BIND_HOST = "0.0.0.0"
"""What servers of ours bind in a pod: all its addresses. Each of them asks for a token."""


def layout(cluster: MatrixCluster) -> RuntimeLayout:
    """Where the runtime finds things."""
    return RuntimeLayout(
        state_port=STATE_PORT,
        state_url=_state_url(cluster),
        directory_port=DIRECTORY_PORT,
        gateway_port=GATEWAY_PORT,
        bind_host=BIND_HOST,
        secrets_dir=SECRETS_DIRECTORY,
        model_cache_dir=MODELS_DIRECTORY,
        credentials_dir=CREDENTIALS_DIRECTORY,
    )


def public_address(cluster: MatrixCluster) -> PublicAddress:
    """Where pods of the same Kubernetes cluster find it: by the names of its Services, KubeRay's and ours."""
    return PublicAddress(
        gateway_url=f"http://{_host(cluster, gateway_service(cluster))}:{GATEWAY_PORT}",
        directory_address=f"{_host(cluster, gateway_service(cluster))}:{DIRECTORY_PORT}",
        dashboard_url=f"http://{_host(cluster, head_service(cluster))}:{DASHBOARD_PORT}",
        state_url=_state_url(cluster),
        scope=EndpointScope.CLUSTER,
    )


def _state_url(cluster: MatrixCluster) -> str:
    return f"http://{_host(cluster, gateway_service(cluster))}:{STATE_PORT}"


def _host(cluster: MatrixCluster, service: str) -> str:
    """Without the domain: not every cluster's is cluster.local."""
    return f"{service}.{cluster.metadata.namespace}.svc"
