"""Tunnels: each connection to a port here becomes one to a server of a cluster's head, over a call that the site's bridge makes.

user, controller -- TCP --> listener (one for each cluster and target) -- OpenTunnel --> bridge
                                ^-------------- bytes, both ways --------------- Tunnel --'
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from matrix_operator.hub.metrics import HubMetrics
from matrix_operator.hub.refusal import Refused, Why
from matrix_operator.hub.settings import Limits
from matrix_proto.bridge_pb2 import OpenTunnel, TunnelFrame, TunnelRefused, TunnelTarget

log = logging.getLogger(__name__)

BLOCK_BYTES = 64 * 1024
"""The largest part in one frame (bridge.proto)."""

FROM_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this process reaches what listens everywhere."""

Context = grpc.aio.ServicerContext[Any, Any]
Key = tuple[str, str, TunnelTarget]
"""Site, uid, target."""


@dataclass(eq=False)
class _End:
    """A connection of this side."""

    site: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    expiry: asyncio.TimerHandle | None = None
    moved: int = 0
    """Bytes, both ways together."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """It is to end: nobody knows the cluster any more."""

    def reset(self) -> None:
        """So that nobody takes what broke for a whole answer."""
        opened = self.writer.get_extra_info("socket")
        if opened is not None and not self.writer.transport.is_closing():
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Tunnels:
    """Of all sites. `ask` sends an order to a site's bridge; False while there is none."""

    def __init__(self, host: str, limits: Limits, metrics: HubMetrics, ask: Callable[[str, OpenTunnel], bool]) -> None:
        self._host = host
        self._limits = limits
        self._metrics = metrics
        self._ask = ask
        self._listeners: dict[Key, asyncio.Server] = {}
        self._opening = asyncio.Lock()
        self._ends: dict[Key, set[_End]] = {}
        self._waiting: dict[str, tuple[Key, _End]] = {}
        """By the id of the order."""

    def address(self, key: Key) -> str | None:
        """host:port of a listener that is there."""
        server = self._listeners.get(key)
        if server is None:
            return None
        host, port = server.sockets[0].getsockname()[:2]
        host = FROM_HERE.get(host, host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def listen(self, key: Key) -> str:
        """host:port; the same for as long as the cluster is known. Raises OSError."""
        async with self._opening:
            if key not in self._listeners:
                server = await asyncio.start_server(lambda reader, writer: self._accept(key, reader, writer), self._host, 0)
                self._listeners[key] = server
        address = self.address(key)
        assert address is not None
        return address

    def close(self, uid: str) -> None:
        """The cluster is not known any more."""
        for key in [key for key in self._listeners if key[1] == uid]:
            self._listeners.pop(key).close()
            for end in self._ends.pop(key, set()):
                end.closed.set()
                end.reset()

    def close_all(self) -> None:
        for uid in {key[1] for key in self._listeners}:
            self.close(uid)

    def refused(self, site: str, refusal: TunnelRefused) -> None:
        """The bridge's answer to an order, instead of a call."""
        key, _ = self._waiting.get(refusal.id, (None, None))
        if key is not None and key[0] == site:
            log.warning("site %s opens no tunnel to %s of %s: %s", site, TunnelTarget.Name(key[2]), key[1], refusal.message)
            self._give_up(refusal.id, "refused")

    async def serve(self, site: str, context: Context) -> None:
        """A call of the site's bridge, to its end. Raises Refused."""
        key, end, first = await self._claimed(site, context)
        with self._metrics.tunnels.labels(site).track_inprogress():
            whole = False
            try:
                await self._carry(end, context, first)
                whole = True
            except (ConnectionError, TimeoutError) as error:
                await context.abort(grpc.StatusCode.ABORTED, f"the connection has ended: {error}")
            finally:  # also when the site has cancelled its call
                self._ends.get(key, set()).discard(end)
                self._finish(end, whole)

    def _finish(self, end: _End, whole: bool) -> None:
        if whole:
            end.writer.close()
        else:
            self._metrics.tunnels_failed.labels(end.site, "broken").inc()
            end.reset()

    def _accept(self, key: Key, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        site, uid, target = key
        end = _End(site, reader, writer)
        self._ends.setdefault(key, set()).add(end)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        order = OpenTunnel(id=secrets.token_urlsafe(16), uid=uid, target=target)
        self._waiting[order.id] = key, end
        end.expiry = asyncio.get_running_loop().call_later(self._limits.tunnel_seconds, self._give_up, order.id, "unanswered")
        if sum(len(ends) for other, ends in self._ends.items() if other[0] == site) > self._limits.tunnels:
            self._give_up(order.id, "tooMany")
        elif not self._ask(site, order):
            self._give_up(order.id, "notConnected")

    def _give_up(self, order: str, why: str) -> None:
        """Nothing comes of it: the connection is reset."""
        key, end = self._take(order)
        if key is not None and end is not None:
            self._metrics.tunnels_failed.labels(key[0], why).inc()
            self._ends.get(key, set()).discard(end)
            end.reset()

    def _take(self, order: str) -> tuple[Key, _End] | tuple[None, None]:
        key, end = self._waiting.pop(order, (None, None))
        if end is None or key is None:
            return None, None
        if end.expiry is not None:
            end.expiry.cancel()
        return key, end

    async def _claimed(self, site: str, context: Context) -> tuple[Key, _End, TunnelFrame]:
        """The connection that a call is for, and its first frame. Raises Refused."""
        try:
            async with asyncio.timeout(self._limits.hello_seconds):
                first = await context.read()
        except TimeoutError as error:
            words = f"no frame came within {self._limits.hello_seconds:g} s"
            raise Refused(Why.HELLO, grpc.StatusCode.DEADLINE_EXCEEDED, words) from error
        known, _ = self._waiting.get(first.id, (None, None)) if isinstance(first, TunnelFrame) else (None, None)
        if known is None or known[0] != site:
            raise Refused(Why.UNKNOWN_TUNNEL, grpc.StatusCode.NOT_FOUND, "no connection waits under that id (any more)")
        key, end = self._take(first.id)
        assert key is not None and end is not None
        return key, end, first

    async def _carry(self, end: _End, context: Context, first: TunnelFrame) -> None:
        """Both ways, until both have ended. Raises ConnectionError, TimeoutError, Refused."""
        closed = asyncio.create_task(end.closed.wait())
        pumps = {asyncio.create_task(self._to_site(end, context)), asyncio.create_task(self._from_site(end, context, first))}
        try:
            pending: set[asyncio.Task[Any]] = set(pumps)
            while pending:
                before = end.moved
                idle = self._limits.tunnel_idle_seconds
                done, left = await asyncio.wait({closed, *pending}, timeout=idle, return_when=asyncio.FIRST_COMPLETED)
                pending = left - {closed}
                for task in done - {closed}:
                    task.result()
                if closed in done:
                    raise ConnectionResetError("the cluster is not known any more")
                if not done and end.moved == before:
                    raise TimeoutError(f"nothing has come through it for {idle:g} s")
        finally:
            for task in (closed, *pumps):
                task.cancel()
            await asyncio.gather(closed, *pumps, return_exceptions=True)

    async def _to_site(self, end: _End, context: Context) -> None:
        sent = self._metrics.tunnel_bytes.labels(end.site, "in")
        while data := await end.reader.read(BLOCK_BYTES):
            await context.write(TunnelFrame(data=data))
            end.moved += len(data)
            sent.inc(len(data))
        await context.write(TunnelFrame(end=True))

    async def _from_site(self, end: _End, context: Context, frame: TunnelFrame) -> None:
        received = self._metrics.tunnel_bytes.labels(end.site, "out")
        while True:
            if len(frame.data) > BLOCK_BYTES:
                words = f"a frame has {len(frame.data)} bytes; {BLOCK_BYTES} may be in it"
                raise Refused(Why.TOO_LARGE, grpc.StatusCode.INVALID_ARGUMENT, words)
            end.writer.write(frame.data)
            await end.writer.drain()
            end.moved += len(frame.data)
            received.inc(len(frame.data))
            if frame.end:
                end.writer.write_eof()
                return
            frame = await context.read()
            if not isinstance(frame, TunnelFrame):
                raise ConnectionResetError("the site broke it off")
