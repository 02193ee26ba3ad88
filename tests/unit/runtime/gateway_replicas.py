"""Replicas as a directory's watch tells of them."""

from __future__ import annotations

from matrix_client.directory_watch import KnownReplica
from matrix_proto.state import Load, ReplicaState


def known(
    id_: str,
    application: str,
    port: int,
    *,
    state: str = "Ready",
    host: str = "127.0.0.1",
    suspect: bool = False,
    ongoing: int = 0,
    model: str = "",
) -> KnownReplica:
    """HTTP on `port`, gRPC on the next one. `model`: the served name, if it is not that of the application."""
    return KnownReplica(
        id=id_,
        application=application,
        model=model or application.removeprefix("mx-md-"),
        state=ReplicaState(state),
        grpc_address=f"{host}:{port + 1}",
        http_url=f"http://{host}:{port}",
        suspect=suspect,
        load=Load(ongoing=ongoing),
    )
