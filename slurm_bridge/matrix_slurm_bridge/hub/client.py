"""The bridge's side of the control stream: what it has seen goes to the hub, what is wanted comes from there. While the hub is away the
agent works on from its journal; this only tries again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import grpc
import grpc.aio

from matrix_proto.bridge_pb2 import FromHub, FromSite, Hello, Report, TunnelRefused, Welcome
from matrix_proto.bridge_pb2_grpc import BridgeStub
from matrix_proto.tunnel import ID_KEY, METHOD
from matrix_slurm_bridge.agent.errors import ForeignHub, Unusable
from matrix_slurm_bridge.agent.loop import Agent
from matrix_slurm_bridge.hub.endpoint import HubEndpoint, HubError
from matrix_slurm_bridge.hub.tunnel import Tunnels

log = logging.getLogger(__name__)

PROTOCOL = 1
REPORT_SECONDS = 10.0
SOONEST_SECONDS = 0.3
"""Between two reports: changes that come together are told together."""
WELCOME_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 15.0
PASSING = 3
"""So many tries without a connection in a row are nothing to warn of: behind a Service stand operators of which one listens, and each try
comes to any of them."""


@dataclass
class HubState:
    """What `matrix bridge status` shows."""

    connected: bool = False
    since: datetime | None = None
    problem: str = ""
    hub_id: str = ""


class HubClient:
    """One site's."""

    def __init__(
        self,
        endpoint: HubEndpoint,
        agent: Agent,
        hello: Hello,
        bound_to: Callable[[], Awaitable[str]],
        bind: Callable[[str], Awaitable[None]],
        chance: random.Random | None = None,
    ) -> None:
        """`hello` without the hub's id, which `bound_to` tells; `bind` raises ForeignHub."""
        self.state = HubState()
        self._endpoint = endpoint
        self._agent = agent
        self._hello = hello
        self._bound_to = bound_to
        self._bind = bind
        self._chance = chance or random.Random()
        self._refused: deque[TunnelRefused] = deque()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        failures, warned = 0, ""
        while True:
            passing = False
            try:
                await self._session()
                problem = "the hub has ended the connection"
            except grpc.aio.AioRpcError as error:
                problem, passing = _words(error, self._endpoint), error.code() is grpc.StatusCode.UNAVAILABLE or _hides_why(error)
            except (HubError, ForeignHub, Unusable, TimeoutError) as error:
                problem = str(error) or f"the hub has not answered within {WELCOME_SECONDS:g} s"
            if self.state.connected:
                failures, warned = 0, ""
            failures += 1
            if passing and failures <= PASSING:
                log.info("no connection to the hub %s, it is tried again: %s", self._endpoint.address, problem)
            elif problem != warned:
                log.warning("no connection to the hub %s: %s", self._endpoint.address, problem)
                warned = problem
            self.state = HubState(since=datetime.now(UTC), problem=problem, hub_id=self.state.hub_id)
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
            await asyncio.sleep(pause * self._chance.uniform(0.5, 1.0))

    async def _session(self) -> None:
        """One connection. Raises AioRpcError, HubError, ForeignHub, Unusable, TimeoutError."""
        metadata = (("authorization", f"Bearer {self._endpoint.token()}"),)
        control, data = self._endpoint.channel(), self._endpoint.channel()
        tunnel: grpc.aio.StreamStreamMultiCallable[Any, Any] = data.stream_stream(METHOD)
        tunnels = Tunnels(
            self._agent.report, lambda order: tunnel(metadata=(*metadata, (ID_KEY, order)), wait_for_ready=True), self._refuse
        )
        call = BridgeStub(control).Control(metadata=metadata)  # type: ignore[no-untyped-call]
        try:
            await self._greet(call)
            data.get_state(try_to_connect=True)  # so that the first tunnel need not wait for it
            async with asyncio.TaskGroup() as both:
                both.create_task(self._hear(call, tunnels))
                both.create_task(self._tell(call))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            call.cancel()
            await tunnels.close()
            await control.close()
            await data.close()

    async def _greet(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        hello = Hello()
        hello.CopyFrom(self._hello)
        hello.hub_id = await self._bound_to()
        async with asyncio.timeout(WELCOME_SECONDS):
            await _say(call, FromSite(hello=hello))
            first = await call.read()
        if not isinstance(first, FromHub) or not first.HasField("welcome"):
            await _ended(call)
        await self._welcomed(first.welcome)

    async def _welcomed(self, welcome: Welcome) -> None:
        if welcome.protocol != PROTOCOL:
            raise HubError(f"the hub speaks version {welcome.protocol} of the protocol, this bridge {PROTOCOL}: install the same release")
        await self._bind(welcome.hub_id)
        self.state = HubState(connected=True, since=datetime.now(UTC), hub_id=welcome.hub_id)
        log.info("connected to the hub %s (%s)", self._endpoint.address, welcome.hub_id)

    async def _hear(self, call: grpc.aio.StreamStreamCall[Any, Any], tunnels: Tunnels) -> None:
        """Anything else is of a later version, and for a bridge of that one."""
        while True:
            message = await call.read()
            if not isinstance(message, FromHub):
                await _ended(call)
            for desired in message.desired.clusters:
                self._agent.want(desired)
            if message.HasField("open_tunnel"):
                tunnels.open(message.open_tunnel)

    async def _tell(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        """A report after each change and each REPORT_SECONDS, but none while the agent is stuck: then nothing new is known."""
        with self._agent.listening() as changed:
            told_at = 0.0
            while True:
                while self._refused:
                    await _say(call, FromSite(tunnel_refused=self._refused.popleft()))
                if self._agent.looked and not self._agent.stuck:
                    changed.clear()
                    await _say(call, FromSite(report=Report(clusters=self._agent.reports())))
                    told_at = time.monotonic()
                await self._wait(changed, told_at)

    async def _wait(self, changed: asyncio.Event, told_at: float) -> None:
        left = max(SOONEST_SECONDS, told_at + REPORT_SECONDS - time.monotonic()) if told_at else 1.0
        waits = [asyncio.create_task(changed.wait()), asyncio.create_task(self._news.wait())]
        try:
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        if not self._news.is_set():
            await asyncio.sleep(SOONEST_SECONDS)
        self._news.clear()

    def _refuse(self, refusal: TunnelRefused) -> None:
        self._refused.append(refusal)
        self._news.set()


async def _say(call: grpc.aio.StreamStreamCall[Any, Any], message: FromSite) -> None:
    """Raises AioRpcError, or HubError, once the stream is over; see `_hides_why`."""
    try:
        await call.write(message)
    except asyncio.InvalidStateError:
        await _ended(call)


async def _ended(call: grpc.aio.StreamStreamCall[Any, Any]) -> NoReturn:
    """The stream is over. Raises AioRpcError with the hub's words, or HubError."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        raise HubError("the hub has ended the connection")
    raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=await call.details())


def _hides_why(error: grpc.aio.AioRpcError) -> bool:
    """A write that met the end of its call: gRPC then gives this for the call's status, whatever the hub has said (grpc/aio/_call.py,
    `_write`). The next try tells."""
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"


def _words(error: grpc.aio.AioRpcError, endpoint: HubEndpoint) -> str:
    code, details = error.code(), " ".join((error.details() or "").split())
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return f"the hub does not know the token in {endpoint.token_file} ({details}); ask its operator for a new one"
    if "CERTIFICATE_VERIFY_FAILED" in details or "certificate" in details.lower():
        return f"the hub's certificate is not trusted ({details}); give the authority that has signed it with --ca"
    if _hides_why(error):
        return "the hub has ended the connection while the bridge wrote to it"
    if code is grpc.StatusCode.UNAVAILABLE and "refused" in details:
        return f"{endpoint.address} refuses connections: no operator acts there, or this try came to one that stands by ({details})"
    return details or code.name
