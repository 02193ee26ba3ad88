"""gRPC channels: how they are set up, and what a replica's one is used for."""

from __future__ import annotations

from typing import Any

import grpc.aio

from matrix_proto import inference_pb2 as pb
from matrix_proto.limits import LARGEST_MESSAGE

SERVICE = "/matrix.inference.v1.Inference"
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_http_proxy", 0),  # the token is for the cluster alone
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    # A connection that says nothing while a request is open is asked for a sign of life. gRPC sends at most two such pings in a row without
    # data between them (grpc.http2.max_pings_without_data); a server with default settings closes the connection at the third.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # it is what counts for an unanswered ping (grpc 1.85): a minute by default
    ("grpc.keepalive_permit_without_calls", 0),
    # Whether to try a replica again is decided by the picker, not by a channel that waits.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # the connect time-out too
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, not one that another channel has
)


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to `host:port`, not connected yet. In clear text: addresses are on the cluster's own network."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)


class Line:
    """The connection to one replica, shared by all requests. Made on first use, closed when the replica is gone.

    A whole answer is one reply, and on the wire a stream of one reply is a unary call: read as such it costs less CPU.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = channel = open_channel(address)
        chat = (f"{SERVICE}/Chat", pb.ChatRequest.SerializeToString, pb.ChatReply.FromString)
        complete = (f"{SERVICE}/Complete", pb.CompleteRequest.SerializeToString, pb.CompleteReply.FromString)
        self.chat: Any = channel.unary_unary(*chat)
        self.chat_stream: Any = channel.unary_stream(*chat)
        self.complete: Any = channel.unary_unary(*complete)
        self.complete_stream: Any = channel.unary_stream(*complete)
        self.embed: Any = channel.unary_unary(f"{SERVICE}/Embed", pb.EmbedRequest.SerializeToString, pb.EmbedReply.FromString)
        self.models: Any = channel.unary_unary(f"{SERVICE}/Models", pb.ModelsRequest.SerializeToString, pb.ModelsReply.FromString)

    async def close(self) -> None:
        """Cancels what is still under way."""
        await self._channel.close(None)
