"""Channels to replicas: one for each address, shared by all requests, closed when the replica is gone."""

from __future__ import annotations

import grpc.aio

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_http_proxy", 0),  # the token is for the replica alone
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A connection that says nothing while a request is open is asked for a sign of life. Not oftener: a gRPC server with default settings
    # closes the connection at the third ping that is not parted from the last by data or five minutes.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # A channel must not wait long before it tries a replica again that was away: whether to use it is the directory's word.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # this is the connect timeout too
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, not one that another channel has
)


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to `host:port`, not connected yet. In clear text: addresses are on the cluster's own network."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)
