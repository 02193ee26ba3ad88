"""The hub's gRPC server: TLS, a gate before every method, bounds on what strangers can take up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from matrix_operator.hub.certificates import CertificateFiles
from matrix_operator.hub.control import Control
from matrix_operator.hub.metrics import HubMetrics
from matrix_operator.hub.refusal import Refused, Why
from matrix_operator.hub.settings import HubSettings, Limits, SiteSettings
from matrix_operator.hub.tokens import site_of
from matrix_operator.hub.tunnels import Tunnels
from matrix_proto import bridge_pb2
from matrix_proto.tunnel import METHOD as TUNNEL
from matrix_proto.tunnel import OPTIONS

STOP_SECONDS = 0.5
METADATA_BYTES = 8 * 1024
_NO_TOKEN = "a valid site token is needed: send it as metadata 'authorization: Bearer <token>'"

Context = grpc.aio.ServicerContext[Any, Any]
Serve = Callable[[str, Context], Awaitable[None]]
"""Told whose call it is."""
Handler = Callable[[Any, Context], Awaitable[None]]


class HubServer:
    """Listens from `start` on."""

    def __init__(self, settings: HubSettings, files: CertificateFiles, control: Control, tunnels: Tunnels, metrics: HubMetrics) -> None:
        self._settings = settings
        self._files = files
        gate = _Gate(settings.sites, metrics)
        self._server = grpc.aio.server(interceptors=(gate,), options=options(settings.limits))
        self._server.add_generic_rpc_handlers((_handlers(gate.counted(control.serve), gate.counted(tunnels.serve)),))

    async def start(self) -> int:
        """Returns the port. Raises OSError."""
        host, port = self._settings.bind_address, self._settings.port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            taken = self._server.add_secure_port(address, self._files.credentials())
        except RuntimeError as error:
            raise OSError(f"the hub can't listen at {address}: {error}") from error
        if taken == 0:
            raise OSError(f"the hub can't listen at {address}")
        await self._server.start()
        return taken

    async def stop(self) -> None:
        """Ends all calls."""
        await self._server.stop(STOP_SECONDS)


def options(limits: Limits) -> list[tuple[str, Any]]:
    """The server's channel arguments; see grpc_types.h."""
    keepalive = int(limits.keepalive_seconds * 1000)
    return [
        *OPTIONS,
        ("grpc.so_reuseport", 0),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_seconds * 1000)),
        ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
        ("grpc.max_concurrent_streams", limits.tunnels + 8),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.keepalive_time_ms", keepalive),
        ("grpc.keepalive_timeout_ms", keepalive),
        ("grpc.http2.ping_timeout_ms", keepalive),  # it is what counts for an unanswered ping (grpc 1.85): a minute by default
        ("grpc.http2.max_pings_without_data", 0),
        # A bridge may ping as often as we do; by default a server hangs up on that.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", keepalive // 2),
    ]


class _Gate(grpc.aio.ServerInterceptor):
    """Deny by default, whatever the method, known or not; the body of a refused call is not read."""

    def __init__(self, sites: Mapping[str, SiteSettings], metrics: HubMetrics) -> None:
        self._sites = sites
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        if site_of(handler_call_details.invocation_metadata, self._sites) is None:
            return grpc.stream_stream_rpc_method_handler(self._refuse)
        return await continuation(handler_call_details)

    def counted(self, serve: Serve) -> Handler:
        """The handler of a method: what it refuses is counted, and told to the caller."""

        async def handle(_: Any, context: Context) -> None:
            site = site_of(context.invocation_metadata(), self._sites)
            assert site is not None, "the gate has looked"
            try:
                await serve(site, context)
            except Refused as refused:
                await self._end(context, refused)
            except DecodeError:
                words = "a message that is none of the protocol's; install the same release on both sides"
                await self._end(context, Refused(Why.UNREADABLE, grpc.StatusCode.INVALID_ARGUMENT, words))

        return handle

    async def _refuse(self, _: Any, context: Context) -> NoReturn:
        await self._end(context, Refused(Why.TOKEN, grpc.StatusCode.UNAUTHENTICATED, _NO_TOKEN))

    async def _end(self, context: Context, refused: Refused) -> NoReturn:
        self._metrics.refused.labels(refused.why.value).inc()
        await context.abort(refused.code, refused.message)


def _handlers(
    control: Callable[[Any, Context], Awaitable[None]], tunnel: Callable[[Any, Context], Awaitable[None]]
) -> grpc.GenericRpcHandler:
    """As the generated code registers them, but for coroutines that read and write by themselves; a tunnel's messages are bare bytes."""
    service, _, tunnel_name = TUNNEL.strip("/").partition("/")
    return grpc.method_handlers_generic_handler(
        service,
        {
            "Control": grpc.stream_stream_rpc_method_handler(
                control, request_deserializer=bridge_pb2.FromSite.FromString, response_serializer=bridge_pb2.FromHub.SerializeToString
            ),
            tunnel_name: grpc.stream_stream_rpc_method_handler(tunnel),
        },
    )
