"""Control streams: one for each bridge. The bridge introduces itself, then reports; the hub says what is wanted, and asks for tunnels."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import grpc.aio

from matrix_operator.hub.board import Bridge, SiteBoard
from matrix_operator.hub.refusal import Refused, Why
from matrix_operator.hub.settings import Limits
from matrix_operator.tasks import first_to_end
from matrix_proto.bridge_pb2 import (
    ClusterDesired,
    ClusterReport,
    Desired,
    FromHub,
    FromSite,
    Hello,
    OpenTunnel,
    TunnelRefused,
    Welcome,
)

log = logging.getLogger(__name__)

PROTOCOL = 1
REPEAT_SECONDS = 30.0
"""What is to be deleted is said again after so long, until it is."""
DESIRED_BYTES = 1024**2
"""About so much in one message: a bridge takes 4 MiB, gRPC's default."""

Context = grpc.aio.ServicerContext[Any, Any]


class Control:
    """The streams of all sites."""

    def __init__(
        self,
        boards: Mapping[str, SiteBoard],
        limits: Limits,
        tunnel_refused: Callable[[str, TunnelRefused], None],
        bridge_gone: Callable[[str], None],
    ) -> None:
        """`bridge_gone`: nobody answers any more what a site was asked until now."""
        self.hub_id = ""
        self._boards = boards
        self._limits = limits
        self._tunnel_refused = tunnel_refused
        self._bridge_gone = bridge_gone
        self._sessions: dict[str, _Session] = {}

    async def serve(self, site: str, context: Context) -> None:
        """One stream, to its end. Raises Refused."""
        hello = await self._hello(site, context)
        session = _Session(self._boards[site], Bridge.of(hello), context, self._limits, self._tunnel_refused)
        self._admit(site, session)
        try:
            await session.run(Welcome(protocol=PROTOCOL, hub_id=self.hub_id))
        finally:
            self._dismiss(site, session)

    def ask(self, site: str, order: OpenTunnel) -> bool:
        """Ask the site for a tunnel; False while no bridge is there."""
        session = self._sessions.get(site)
        if session is not None:
            session.ask(order)
        return session is not None

    async def _hello(self, site: str, context: Context) -> Hello:
        try:
            async with asyncio.timeout(self._limits.hello_seconds):
                message = await context.read()
        except TimeoutError as error:
            words = f"no Hello came within {self._limits.hello_seconds:g} s"
            raise Refused(Why.HELLO, grpc.StatusCode.DEADLINE_EXCEEDED, words) from error
        if not isinstance(message, FromSite) or message.WhichOneof("message") != "hello":
            raise Refused(Why.HELLO, grpc.StatusCode.INVALID_ARGUMENT, "a bridge begins with Hello")
        if problem := _problem(message.hello, site, self.hub_id):
            raise problem
        return message.hello

    def _admit(self, site: str, session: _Session) -> None:
        """Raises Refused: of two bridges the one that was first stays. The same one may come again before its former stream has ended."""
        there = self._sessions.get(site)
        if there is not None and there.bridge.instance != session.bridge.instance:
            age = self._boards[site].age or 0.0
            words = f"site {site} has a bridge already: {there.bridge}, which was heard {age:.0f} s ago; end that one first"
            raise Refused(Why.COLLISION, grpc.StatusCode.ALREADY_EXISTS, words)
        if there is not None:
            there.replaced.set()
            self._bridge_gone(site)
        self._sessions[site] = session
        self._boards[site].attach(session.bridge)
        log.info("the bridge of site %s is connected: %s", site, session.bridge)

    def _dismiss(self, site: str, session: _Session) -> None:
        if self._sessions.get(site) is session:
            del self._sessions[site]
            self._boards[site].detach()
            self._bridge_gone(site)
            log.info("the bridge of site %s is not connected any more: %s", site, session.bridge)


class _Session:
    """One stream after its Hello."""

    def __init__(
        self, board: SiteBoard, bridge: Bridge, context: Context, limits: Limits, tunnel_refused: Callable[[str, TunnelRefused], None]
    ) -> None:
        self.bridge = bridge
        self.replaced = asyncio.Event()
        """The same bridge has come again."""
        self._board = board
        self._context = context
        self._limits = limits
        self._tunnel_refused = tunnel_refused
        self._orders: deque[OpenTunnel] = deque()
        self._sent: dict[str, ClusterDesired] = {}

    def ask(self, order: OpenTunnel) -> None:
        self._orders.append(order)
        self._board.changed.set()

    async def run(self, welcome: Welcome) -> None:
        """Until the stream ends, or another takes its place. Raises Refused."""
        await self._send(FromHub(welcome=welcome))
        await first_to_end(self._hear(), self._tell(), self.replaced.wait())

    async def _hear(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._limits.report_seconds):
                    message = await self._context.read()
            except TimeoutError as error:
                words = f"the bridge has said nothing for {self._limits.report_seconds:g} s"
                raise Refused(Why.SILENT, grpc.StatusCode.DEADLINE_EXCEEDED, words) from error
            if not isinstance(message, FromSite):
                return
            self._take(message)

    def _take(self, message: FromSite) -> None:
        """Anything else is of a later version, and for a hub of that one."""
        match message.WhichOneof("message"):
            case "report":
                self._take_report(message)
            case "tunnel_refused":
                self._tunnel_refused(self._board.name, message.tunnel_refused)
            case "hello":
                raise Refused(Why.HELLO, grpc.StatusCode.INVALID_ARGUMENT, "a bridge says Hello once")

    def _take_report(self, message: FromSite) -> None:
        clusters = message.report.clusters
        if len(clusters) > self._limits.clusters:
            words = f"a report has {len(clusters)} clusters; {self._limits.clusters} may be in it"
            raise Refused(Why.TOO_LARGE, grpc.StatusCode.RESOURCE_EXHAUSTED, words)
        self._board.take(clusters)

    async def _tell(self) -> None:
        while True:
            self._board.changed.clear()
            while self._orders:
                await self._send(FromHub(open_tunnel=self._orders.popleft()))
            for part in _parts([wish for uid, wish in self._board.desired.items() if self._sent.get(uid) != wish]):
                await self._send(FromHub(desired=Desired(clusters=part)))
                self._sent |= {wish.uid: wish for wish in part}
            try:
                async with asyncio.timeout(REPEAT_SECONDS):
                    await self._board.changed.wait()
            except TimeoutError:
                self._sent = {uid: wish for uid, wish in self._sent.items() if not self._unfinished(wish)}

    def _unfinished(self, wish: ClusterDesired) -> bool:
        """Whether something is to be deleted and the site has not said that it is."""
        if wish.phase != ClusterDesired.DELETE or wish.uid not in self._board.desired:
            return False
        found = self._board.reports.get(wish.uid)
        return found is None or found.report.presence != ClusterReport.ABSENT or found.report.phase != wish.phase

    async def _send(self, message: FromHub) -> None:
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._context.write(message)
        except TimeoutError as error:
            words = f"the bridge has taken nothing for {self._limits.send_seconds:g} s"
            raise Refused(Why.DEAF, grpc.StatusCode.DEADLINE_EXCEEDED, words) from error


def _problem(hello: Hello, site: str, hub_id: str) -> Refused | None:
    if hello.protocol != PROTOCOL:
        words = f"the bridge speaks version {hello.protocol} of the protocol, this hub {PROTOCOL}; install the same release on both sides"
        return Refused(Why.VERSION, grpc.StatusCode.FAILED_PRECONDITION, words)
    if hello.site != site:
        words = f"the token is that of site {site}, not of {hello.site!r}"
        return Refused(Why.TOKEN, grpc.StatusCode.PERMISSION_DENIED, words)
    if hello.hub_id and hello.hub_id != hub_id:
        words = f"the site belongs to hub {hello.hub_id}, this one is {hub_id}"
        return Refused(Why.FOREIGN_HUB, grpc.StatusCode.FAILED_PRECONDITION, words)
    if not hello.instance:
        return Refused(Why.HELLO, grpc.StatusCode.INVALID_ARGUMENT, "a Hello names the bridge's instance")
    return None


def _parts(wishes: list[ClusterDesired]) -> Iterator[list[ClusterDesired]]:
    """In messages that are not too large; one that is larger goes alone."""
    part: list[ClusterDesired] = []
    size = 0
    for wish in wishes:
        if part and size + wish.ByteSize() > DESIRED_BYTES:
            yield part
            part, size = [], 0
        part.append(wish)
        size += wish.ByteSize()
    if part:
        yield part
