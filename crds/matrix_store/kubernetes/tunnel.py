"""One TCP connection to a port inside a pod, through the API server and the node's kubelet: what `kubectl port-forward` does.

A websocket to the pod's subresource `portforward` with the protocol v4.channel.k8s.io. The API server hands it through to the kubelet,
whose container runtime speaks it (k8s.io/kubelet, pkg/cri/streaming/portforward/websocket.go), in all releases that are in use. The newer
one (SPDY/3.1+portforward.k8s.io, feature PortForwardWebsockets, on by default since 1.31) would add SPDY inside the websocket.
Each message begins with a channel: 0 is the data, 1 what went wrong, in words; the first of each channel is the port.
The runtime connects to `localhost` in the pod, so what listens at the pod's address alone can't be reached.

One websocket carries one connection: then its end is the connection's end. The protocol has no half-closed connections.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from matrix_store.errors import Forbidden, NotFound, StoreError, Unavailable
from matrix_store.kubernetes.connection import AGENT, Connection
from matrix_store.kubernetes.faults import refusal_of, unreachable

PROTOCOL = Subprotocol("v4.channel.k8s.io")
DATA, ERROR = 0, 1
OPEN_SECONDS = 10.0
"""Until the kubelet has answered."""
QUEUED_MESSAGES = 64
"""Of at most 32 KiB each, before reading from the network stops."""
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""In seconds: a server that has gone without a word is noticed after a minute. Not by pings of the websocket: the answer would wait
behind data that nobody reads for the moment."""


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
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
    opened = await _open(connection, f"{path}?ports={port}", path)
    try:
        yield Tunnel(opened, f"port {port} of pod {pod}")
    finally:
        await opened.close()


async def _open(connection: Connection, target: str, path: str) -> ClientConnection:
    url = connection.server.rstrip("/") + target
    request = httpx2.Request("GET", url)
    flow = connection.auth.async_auth_flow(request) if connection.auth else None
    if flow is not None:
        request = await anext(flow)
    try:
        try:
            return await _upgrade(connection, url, request)
        except InvalidStatus as refused:
            if flow is None or refused.response.status_code != 401:
                raise
            request = await flow.asend(httpx2.Response(401, request=request))  # such as a token that was renewed meanwhile
            return await _upgrade(connection, url, request)
    except StopAsyncIteration:
        raise refusal_of({}, 401, path) from None
    except InvalidStatus as refused:
        raise _refusal(refused, path) from refused
    except (WebSocketException, OSError, TimeoutError) as error:
        raise unreachable(error, connection.server) from error


async def _upgrade(connection: Connection, url: str, request: httpx2.Request) -> ClientConnection:
    secure = url.startswith("https:")
    credentials = {name: value for name, value in request.headers.items() if name == "authorization"}
    opened = await connect(
        url.replace("http", "ws", 1),
        ssl=connection.tls if secure else None,
        subprotocols=[PROTOCOL],
        additional_headers=credentials,
        user_agent_header=AGENT,
        compression=None,
        open_timeout=OPEN_SECONDS,
        ping_interval=None,
        max_size=None,
        max_queue=QUEUED_MESSAGES,
    )
    _keep_alive(opened.transport.get_extra_info("socket"))
    return opened


def _keep_alive(connected: Any) -> None:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connected.setsockopt(socket.IPPROTO_TCP, option, value)


def _refusal(refused: InvalidStatus, path: str) -> StoreError:
    response = refused.response
    body = response.body or b""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        status = {"message": body[:200].decode(errors="replace").strip() or response.reason_phrase}
    error = refusal_of(status, response.status_code, path)
    if isinstance(error, NotFound):
        return NotFound(f"pod {path.split('/')[-2]} is not there")
    if isinstance(error, Forbidden):
        return Forbidden(f"{error} with `get` and `create` on pods/portforward")
    return error


def _last_words(told: bytes) -> str:
    """Without the lead that repeats what was asked for: `error forwarding port 8470 to pod NAME, uid ID: ...`."""
    words = " ".join(told.decode(errors="replace").split())
    return (words.partition(", uid ")[2].partition(": ")[2] or words)[-300:]
