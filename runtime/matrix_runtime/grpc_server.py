"""gRPC servers of ours: how they listen, and what they allow a client to do to keep its connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc.aio

from matrix_runtime.addresses import host_port, listening

KEEPALIVE_SECONDS = 10.0
"""A peer that has not answered a ping for as long as this again is gone, and what it holds is set free."""


def options(largest_request: int, largest_reply: int = -1) -> list[tuple[str, Any]]:
    """The server's channel arguments; see grpc_types.h. `largest_request` and `largest_reply` in bytes; -1: no limit.

    A client may ping each second (by default a server hangs up on that), and two servers never share a port.
    """
    milliseconds = int(KEEPALIVE_SECONDS * 1000)
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", largest_request),
        ("grpc.max_send_message_length", largest_reply),
        ("grpc.keepalive_time_ms", milliseconds),
        ("grpc.keepalive_timeout_ms", milliseconds),
        ("grpc.http2.ping_timeout_ms", milliseconds),  # it is what counts for an unanswered ping (grpc 1.85): a minute by default
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 900),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def make_server(interceptors: Sequence[grpc.aio.ServerInterceptor], largest_request: int, largest_reply: int = -1) -> grpc.aio.Server:
    """A server that does not listen yet; to be made on the loop that it runs on."""
    return grpc.aio.server(interceptors=tuple(interceptors), options=options(largest_request, largest_reply))


def bind(server: grpc.aio.Server, host: str, port: int) -> int:
    """Listens; port 0 takes a free one, "0.0.0.0" and "::" all addresses of both families. Returns the port. Raises OSError."""
    host = listening(host)
    try:
        taken = server.add_insecure_port(host_port(host, port))
    except RuntimeError as error:
        raise OSError(f"can't listen at {host_port(host, port)}: {error}") from error
    if taken == 0:
        raise OSError(f"can't listen at {host_port(host, port)}")
    return taken
