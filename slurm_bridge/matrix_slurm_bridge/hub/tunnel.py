"""Tunnels: the hub asks for one, the bridge connects to the head's server and calls the hub; bytes go both ways until both have ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc.aio

from matrix_proto.bridge_pb2 import Address, ClusterReport, OpenTunnel, TunnelFrame, TunnelRefused, TunnelTarget

log = logging.getLogger(__name__)

BLOCK_BYTES = 64 * 1024
"""The largest part in one frame (bridge.proto)."""
MOST = 1024
"""At once."""
CONNECT_SECONDS = 10.0
_PORTS: dict[TunnelTarget, Callable[[Address], int]] = {
    TunnelTarget.DASHBOARD: lambda address: address.dashboard_port,
    TunnelTarget.STATE: lambda address: address.state_port,
    TunnelTarget.DIRECTORY: lambda address: address.directory_port,
    TunnelTarget.GATEWAY: lambda address: address.gateway_port,
}
"""All that a hub can reach: these ports, on the heads of its own clusters."""

Call = Callable[[], "grpc.aio.StreamStreamCall[Any, Any]"]


class Tunnels:
    """Those of one connection to the hub."""

    def __init__(self, find: Callable[[str], ClusterReport | None], call: Call, refuse: Callable[[TunnelRefused], None]) -> None:
        """`find`: what is known of a cluster; `call`: opens a call of Tunnel; `refuse`: tells the hub that nothing comes of its order."""
        self._find = find
        self._call = call
        self._refuse = refuse
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, order: OpenTunnel) -> None:
        """Returns at once."""
        task = asyncio.create_task(self._serve(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """The connection to the hub is lost: so are they."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, order: OpenTunnel) -> None:
        try:
            host, port = self._target(order)
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError, ValueError) as error:
            self._refuse(TunnelRefused(id=order.id, message=str(error) or type(error).__name__))
            return
        try:
            await self._carry(order.id, reader, writer)
        except (ConnectionError, grpc.aio.AioRpcError) as error:
            log.debug("a tunnel of %s broke: %s", order.uid, error)
            writer.transport.abort()
        finally:
            writer.close()

    def _target(self, order: OpenTunnel) -> tuple[str, int]:
        """Raises ValueError with what the hub is told."""
        if len(self._tasks) > MOST:
            raise ValueError(f"{MOST} tunnels are open already")
        port = _PORTS.get(order.target)
        report = self._find(order.uid)
        if port is None or report is None:
            raise ValueError("no such cluster or target here")
        if not report.HasField("address"):
            raise ValueError("the cluster has no head now")
        return report.address.host, port(report.address)

    async def _carry(self, order: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both ways. Raises ConnectionError, AioRpcError."""
        call = self._call()
        try:
            await call.write(TunnelFrame(id=order))
            async with asyncio.TaskGroup() as both:
                both.create_task(_to_hub(reader, call))
                both.create_task(_from_hub(call, writer))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            call.cancel()


async def _to_hub(reader: asyncio.StreamReader, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
    while data := await reader.read(BLOCK_BYTES):
        await call.write(TunnelFrame(data=data))
    await call.write(TunnelFrame(end=True))
    await call.done_writing()


async def _from_hub(call: grpc.aio.StreamStreamCall[Any, Any], writer: asyncio.StreamWriter) -> None:
    while True:
        frame = await call.read()
        if not isinstance(frame, TunnelFrame):
            raise ConnectionResetError("the hub broke it off")
        if frame.data:
            writer.write(frame.data)
            await writer.drain()
        if frame.end:
            if writer.can_write_eof():
                writer.write_eof()
            return
