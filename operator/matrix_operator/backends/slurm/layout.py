"""Where the runtime finds things inside a cluster of a site: as its head has recorded them. Pure."""

from __future__ import annotations

from matrix_operator.backends.port import RuntimeLayout
from matrix_proto.bridge_pb2 import ClusterReport

BIND_HOST = "0.0.0.0"
"""What servers of ours bind: all addresses of whatever node they are on. Each of them asks for a token."""


def layout(report: ClusterReport) -> RuntimeLayout | None:
    """None while there is no head."""
    if not report.HasField("address"):
        return None
    at = report.address
    host = f"[{at.host}]" if ":" in at.host else at.host
    return RuntimeLayout(
        state_port=at.state_port,
        state_url=f"http://{host}:{at.state_port}",
        directory_port=at.directory_port,
        gateway_port=at.gateway_port,
        bind_host=BIND_HOST,
        secrets_dir=at.secrets_dir,
        model_cache_dir=at.model_cache_dir,
        credentials_dir=at.secrets_dir,
    )
