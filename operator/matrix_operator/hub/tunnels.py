"""Tunnels: each connection to a port here becomes one to a server of a cluster's head, over a call that the site's bridge makes.

user, controller -- TCP --> listener (one for each cluster and target) -- OpenTunnel --> bridge
                                ^-------------- bytes, both ways --------------- Tunnel --'

Plain sockets, and not asyncio's streams: nothing is read that the call does not take at once, so nothing but one block is held here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from matrix_operator.hub.metrics import HubMetrics
from matrix_operator.hub.refusal import Refused, Why
from matrix_operator.hub.settings import Limits
from matrix_proto.bridge_pb2 import OpenTunnel, TunnelRefused, TunnelTarget
from matrix_proto.tunnel import BLOCK_BYTES, END, ID_KEY, reset

log = logging.getLogger(__name__)

FROM_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this process reaches what listens everywhere."""
BACKLOG = 100
AGAIN_SECONDS = 1.0
"""After a connection could not be taken: there are no more file descriptors, say."""

Context = grpc.aio.ServicerContext[Any, Any]
Key = tuple[str, str, TunnelTarget]
"""Site, uid, target."""


@dataclass(eq=False)
class _End:
    """A connection of this side."""

    site: str
    socket: socket.socket
    expiry: asyncio.TimerHandle | None = None
    moved: int = 0
    """Bytes, both ways together."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """It is to end: nobody knows the cluster any more."""


@dataclass
class _Listener:
    socket: socket.socket
    task: asyncio.Task[None]


class Tunnels:
    """Of all sites. `ask` sends an order to a site's bridge; False while there is none."""

    def __init__(self, host: str, limits: Limits, metrics: HubMetrics, ask: Callable[[str, OpenTunnel], bool]) -> None:
        self._host = host
        self._limits = limits
        self._metrics = metrics
        self._ask = ask
        self._listeners: dict[Key, _Listener] = {}
        self._ends: dict[Key, set[_End]] = {}
        self._waiting: dict[str, tuple[Key, _End]] = {}
        """By the id of the order."""

    def address(self, key: Key) -> str | None:
        """host:port of a listener that is there."""
        listener = self._listeners.get(key)
        if listener is None:
            return None
        host, port = listener.socket.getsockname()[:2]
        host = FROM_HERE.get(host, host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def listen(self, key: Key) -> str:
        """host:port; the same for as long as the cluster is known. Raises OSError."""
        if key not in self._listeners:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            opened = socket.create_server((self._host, 0), family=family, backlog=BACKLOG)
            opened.setblocking(False)
            self._listeners[key] = _Listener(opened, asyncio.create_task(self._listen(key, opened)))
        address = self.address(key)
        assert address is not None
        return address

    def close(self, uid: str) -> None:
        """The cluster is not known any more."""
        for order in [order for order, (key, _) in self._waiting.items() if key[1] == uid]:
            self._give_up(order, "notConnected")
        for key in [key for key in self._listeners if key[1] == uid]:
            self._listeners.pop(key).task.cancel()
            for end in self._ends.pop(key, set()):
                end.closed.set()

    def close_all(self) -> None:
        for uid in {key[1] for key in self._listeners}:
            self.close(uid)

    def refused(self, site: str, refusal: TunnelRefused) -> None:
        """The bridge's answer to an order, instead of a call."""
        key, _ = self._waiting.get(refusal.id, (None, None))
        if key is not None and key[0] == site:
            log.warning("site %s opens no tunnel to %s of %s: %s", site, TunnelTarget.Name(key[2]), key[1], refusal.message)
            self._give_up(refusal.id, "refused")

    def bridge_gone(self, site: str) -> None:
        """What waits for its answer gets none: at once, and not after the time for an answer."""
        for order in [order for order, (key, _) in self._waiting.items() if key[0] == site]:
            self._give_up(order, "notConnected")

    async def serve(self, site: str, context: Context) -> None:
        """A call of the site's bridge, to its end. Raises Refused."""
        key, end = self._claimed(site, context)
        whole, broke = False, None
        with self._metrics.tunnels.labels(site).track_inprogress():
            try:
                await self._carry(end, context)
                whole = True
            except OSError as error:
                broke = error
            finally:  # also when the site has cancelled its call
                self._ends.get(key, set()).discard(end)
                self._finish(end, whole)
        if broke is not None:
            await context.abort(grpc.StatusCode.ABORTED, f"the connection has ended: {broke}")

    def _finish(self, end: _End, whole: bool) -> None:
        if whole:
            end.socket.close()
        else:
            self._metrics.tunnels_failed.labels(end.site, "broken").inc()
            reset(end.socket)

    async def _listen(self, key: Key, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    opened, _ = await loop.sock_accept(listener)
                except OSError as error:
                    log.warning("a connection to %s of %s can't be taken: %s", TunnelTarget.Name(key[2]), key[1], error)
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                self._accept(key, opened)
                await asyncio.sleep(0)  # one that waits already is taken without a turn of the loop

    def _accept(self, key: Key, opened: socket.socket) -> None:
        site, uid, target = key
        end = _End(site, opened)
        self._ends.setdefault(key, set()).add(end)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
            reset(end.socket)

    def _take(self, order: str) -> tuple[Key, _End] | tuple[None, None]:
        key, end = self._waiting.pop(order, (None, None))
        if end is None or key is None:
            return None, None
        if end.expiry is not None:
            end.expiry.cancel()
        return key, end

    def _claimed(self, site: str, context: Context) -> tuple[Key, _End]:
        """The connection that a call is for. Raises Refused."""
        order = next((str(value) for key, value in context.invocation_metadata() or () if key == ID_KEY), "")
        known, _ = self._waiting.get(order, (None, None))
        if known is None or known[0] != site:
            raise Refused(Why.UNKNOWN_TUNNEL, grpc.StatusCode.NOT_FOUND, "no connection waits under that id (any more)")
        key, end = self._take(order)
        assert key is not None and end is not None
        return key, end

    async def _carry(self, end: _End, context: Context) -> None:
        """Both ways, until both have ended. Raises OSError, Refused."""
        closed = asyncio.create_task(end.closed.wait())
        pumps = {asyncio.create_task(self._to_site(end, context)), asyncio.create_task(self._from_site(end, context))}
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
        loop, sent = asyncio.get_running_loop(), self._metrics.tunnel_bytes.labels(end.site, "in")
        while data := await loop.sock_recv(end.socket, BLOCK_BYTES):
            await context.write(data)
            end.moved += len(data)
            sent.inc(len(data))
        await context.write(END)

    async def _from_site(self, end: _End, context: Context) -> None:
        loop, received = asyncio.get_running_loop(), self._metrics.tunnel_bytes.labels(end.site, "out")
        while (data := await context.read()) != END:
            if not isinstance(data, bytes):
                raise ConnectionResetError("the site broke it off")
            if len(data) > BLOCK_BYTES:
                words = f"a message has {len(data)} bytes; {BLOCK_BYTES} may be in it"
                raise Refused(Why.TOO_LARGE, grpc.StatusCode.INVALID_ARGUMENT, words)
            await loop.sock_sendall(end.socket, data)
            end.moved += len(data)
            received.inc(len(data))
        end.socket.shutdown(socket.SHUT_WR)
