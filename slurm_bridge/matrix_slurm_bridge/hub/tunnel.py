"""Tunnels: the hub asks for one, the bridge connects to the head's server and calls the hub; bytes go both ways until both have ended."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from matrix_proto.bridge_pb2 import Address, ClusterReport, OpenTunnel, TunnelRefused, TunnelTarget
from matrix_proto.tunnel import BLOCK_BYTES, END, reset

log = logging.getLogger(__name__)

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

Call = grpc.aio.StreamStreamCall[Any, Any]


class Tunnels:
    """Those of one connection to the hub."""

    def __init__(
        self, find: Callable[[str], ClusterReport | None], call: Callable[[str], Call], refuse: Callable[[TunnelRefused], None]
    ) -> None:
        """`find`: what is known of a cluster; `call`: makes the call for the order of that id; `refuse`: tells the hub that nothing comes
        of its order."""
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
                connected = await _connected(host, port)
        except (OSError, ValueError) as error:
            self._refuse(TunnelRefused(id=order.id, message=str(error) or type(error).__name__))
            return
        whole = False
        try:
            await self._carry(order.id, connected)
            whole = True
        except (OSError, grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:  # the last one: written to a call that has ended
            log.debug("a tunnel of %s broke: %s", order.uid, error)
        finally:
            if whole:
                connected.close()
            else:
                reset(connected)

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

    async def _carry(self, order: str, connected: socket.socket) -> None:
        """Both ways. Raises OSError, AioRpcError, InvalidStateError."""
        call = self._call(order)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_to_hub(connected, call))
                both.create_task(_from_hub(call, connected))
            if await call.code() is not grpc.StatusCode.OK:  # the hub may not have passed on all of it yet
                raise ConnectionResetError("the hub broke it off")
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            call.cancel()


async def _connected(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opened, (host, port))
    except BaseException:
        opened.close()
        raise
    return opened


async def _to_hub(connected: socket.socket, call: Call) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(connected, BLOCK_BYTES):
        await call.write(data)
    await call.write(END)
    await call.done_writing()


async def _from_hub(call: Call, connected: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while (data := await call.read()) != END:
        if not isinstance(data, bytes):
            raise ConnectionResetError("the hub broke it off")
        await loop.sock_sendall(connected, data)
    connected.shutdown(socket.SHUT_WR)
