"""A bridge in a few lines: speaks the protocol for one site, answers what it is told from a script, and pipes tunnels to ports of this
machine. For tests of the hub; the real one is matrix_slurm_bridge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio

from matrix_proto.bridge_pb2 import (
    ClusterDesired,
    ClusterReport,
    FromHub,
    FromSite,
    Hello,
    OpenTunnel,
    Report,
    TunnelRefused,
    TunnelTarget,
)
from matrix_proto.bridge_pb2_grpc import BridgeStub
from matrix_proto.tunnel import BLOCK_BYTES, END, ID_KEY, METHOD

Tunnel = Callable[[str], grpc.aio.StreamStreamCall]
"""Makes the call for an order of that id."""


@dataclass
class FakeBridge:
    """One bridge. `answer` makes a report of what was told; `ports` are where the targets listen, on loopback."""

    address: str
    authority: bytes
    token: str
    site: str = "fair"
    instance: str = "i1"
    host: str = "login1"
    hub_id: str = ""
    answer: Callable[[ClusterDesired], ClusterReport] | None = None
    ports: dict[TunnelTarget, int] = field(default_factory=dict)
    told: list[ClusterDesired] = field(default_factory=list)
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)
    hub: str = ""
    """The id that it was welcomed with."""
    _reports: dict[str, ClusterReport] = field(default_factory=dict)
    _saying: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    def hello(self) -> FromSite:
        return FromSite(hello=Hello(protocol=1, site=self.site, host=self.host, user="u", hub_id=self.hub_id, instance=self.instance))

    @asynccontextmanager
    async def channels(self) -> AsyncIterator[tuple[BridgeStub, Tunnel]]:
        """One for the control stream, one for tunnels."""
        credentials = grpc.ssl_channel_credentials(self.authority)
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with (
            grpc.aio.secure_channel(self.address, credentials, options) as control,
            grpc.aio.secure_channel(self.address, credentials, options) as tunnels,
        ):
            call = tunnels.stream_stream(METHOD)
            yield BridgeStub(control), lambda order: call(metadata=(*self.metadata, (ID_KEY, order)))

    async def run(self, report_each: float = 1.0) -> None:
        """Until the hub ends the call. Raises grpc.aio.AioRpcError."""
        async with self.channels() as (control, tunnels), asyncio.TaskGroup() as group:
            call = control.Control(metadata=self.metadata)
            await call.write(self.hello())
            beat = group.create_task(self._beat(call, report_each))
            try:
                while isinstance(message := await call.read(), FromHub):
                    match message.WhichOneof("message"):
                        case "welcome":
                            self.hub = message.welcome.hub_id
                            self.welcomed.set()
                        case "desired":
                            await self._take(call, list(message.desired.clusters))
                        case "open_tunnel":
                            group.create_task(self.tunnel(call, tunnels, message.open_tunnel))
            finally:
                beat.cancel()

    async def report(self, call: grpc.aio.StreamStreamCall) -> None:
        await self._say(call, FromSite(report=Report(clusters=list(self._reports.values()))))

    async def _say(self, call: grpc.aio.StreamStreamCall, message: FromSite) -> None:
        """One after the other: gRPC takes no two writes at once."""
        async with self._saying:
            await call.write(message)

    async def tunnel(self, control: grpc.aio.StreamStreamCall, tunnel: Tunnel, order: OpenTunnel) -> None:
        port = self.ports.get(order.target)
        if port is None:
            await self._say(control, FromSite(tunnel_refused=TunnelRefused(id=order.id, message="nothing listens there")))
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        call = tunnel(order.id)
        try:
            await asyncio.gather(_up(reader, call), _down(call, writer))
        except (ConnectionError, grpc.aio.AioRpcError):
            call.cancel()
        finally:
            writer.close()

    async def _beat(self, call: grpc.aio.StreamStreamCall, seconds: float) -> None:
        await self.welcomed.wait()
        while True:
            await self.report(call)
            await asyncio.sleep(seconds)

    async def _take(self, call: grpc.aio.StreamStreamCall, clusters: list[ClusterDesired]) -> None:
        self.told += clusters
        if self.answer is not None:
            self._reports |= {wish.uid: self.answer(wish) for wish in clusters}
            await self.report(call)


async def _up(reader: asyncio.StreamReader, call: grpc.aio.StreamStreamCall) -> None:
    while data := await reader.read(BLOCK_BYTES):
        await call.write(data)
    await call.write(END)
    await call.done_writing()


async def _down(call: grpc.aio.StreamStreamCall, writer: asyncio.StreamWriter) -> None:
    while (data := await call.read()) is not grpc.aio.EOF:
        if data == END:
            writer.write_eof()
            return
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError("broken off")
