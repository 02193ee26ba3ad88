"""One TCP connection to a port inside a pod, through the API server and the node's kubelet: what `kubectl port-forward` does.

A websocket to the pod's subresource `portforward` with the protocol v4.channel.k8s.io. The API server hands it through to the kubelet,
whose container runtime speaks it (k8s.io/kubelet, pkg/cri/streaming/portforward/websocket.go), in all releases that are in use. The newer
one (SPDY/3.1+portforward.k8s.io, feature PortForwardWebsockets, on by default since 1.31) would add SPDY inside the websocket.
Each message begins with a channel: 0 is the data, 1 what went wrong, in words; the first of each channel is the port.
The runtime connects to `localhost` in the pod, so what listens at the pod's address alone can't be reached.

One websocket carries one connection: then its end is the connection's end. The protocol has no half-closed connections.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

from matrix_store.errors import Unavailable
from matrix_store.kubernetes.connection import Connection
from matrix_store.kubernetes.websocket import open_websocket, pod_path

DATA, ERROR = 0, 1


class PortClosed(Unavailable):
    """The pod is there, and nothing listens at the port, or the connection inside broke."""


class Tunnel:
    """Made by `tunnel`. Reading and writing may go on at the same time, in one task each."""

    def __init__(self, socket_: ClientConnection, where: str) -> None:
        self.received = 0
        """Bytes so far."""
        self._socket = socket_
        self._where = where
        self._opened: set[int] = set()
        """Channels whose port has come."""

    async def read(self) -> bytes:
        """What came, at least one byte; b"" at the end. Raises PortClosed, and Unavailable when the way to the pod breaks."""
        while True:
            try:
                message = await self._socket.recv(decode=False)
            except ConnectionClosedOK:
                return b""
            except ConnectionClosed as error:
                raise Unavailable(f"the connection to {self._where} broke: {error}") from error
            channel = message[0] if message else DATA
            if channel not in self._opened:
                self._opened.add(channel)
            elif channel == ERROR:
                raise PortClosed(f"{self._where}: {_last_words(message[1:])}")
            elif len(message) > 1:
                self.received += len(message) - 1
                return message[1:]

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises Unavailable when it has ended."""
        try:
            await self._socket.send(bytes((DATA,)) + data)
        except ConnectionClosed as error:
            raise Unavailable(f"the connection to {self._where} has ended: {error}") from error


@asynccontextmanager
async def tunnel(connection: Connection, namespace: str, pod: str, port: int) -> AsyncIterator[Tunnel]:
    """A connection to `port` of a pod. Raises NotFound, Forbidden, Unavailable; that nothing listens there comes with the first read."""
    opened = await open_websocket(connection, pod_path(namespace, pod, "portforward"), f"ports={port}")
    try:
        yield Tunnel(opened, f"port {port} of pod {pod}")
    finally:
        await opened.close()


def _last_words(told: bytes) -> str:
    """Runtimes tell of their own parts at length; without the lead that repeats what was asked for."""
    words = " ".join(told.decode(errors="replace").split())
    if "connection refused" in words:
        return "nothing listens there"
    return (words.partition(", uid ")[2].partition(": ")[2] or words)[-300:]
