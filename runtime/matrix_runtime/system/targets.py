"""Where this cluster's metrics are, in the form in which Prometheus asks for targets over HTTP.

The form: https://prometheus.io/docs/prometheus/latest/http_sd/ (a list of `targets` with `labels`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from matrix_proto.state import APPLICATION_PREFIX, ReplicaState, State

_HAS_SERVERS = (ReplicaState.READY, ReplicaState.DRAINING)


def targets(state: State) -> list[dict[str, Any]]:
    """The gateway and every replica that has servers, each as `host:port`. Labels: `component` (gateway, replica), and of a replica
    `deployment`, the name of its ModelDeployment."""
    found = []
    if state.gateway is not None and state.gateway.url:
        found.append(_target(state.gateway.url, component="gateway"))
    for replica in state.replicas:
        if replica.http_url and replica.state in _HAS_SERVERS:
            deployment = replica.application.removeprefix(APPLICATION_PREFIX)
            found.append(_target(replica.http_url, component="replica", deployment=deployment))
    return found


def _target(url: str, **labels: str) -> dict[str, Any]:
    return {"targets": [urlsplit(url).netloc], "labels": labels}
