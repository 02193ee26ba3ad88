"""Hubs of a test, with an authority, a certificate and one site `fair`, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry

from matrix_operator.hub.certificates import AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, make
from matrix_operator.hub.hub import Hub
from matrix_operator.hub.settings import HubSettings, Limits, SiteSettings
from matrix_operator.hub.tokens import issue
from matrix_proto.bridge_pb2 import Address, ClusterDesired, ClusterReport
from tests.fakes.bridge import FakeBridge
from tests.fakes.sites import answer

HUB_ID = "hub-1"
LIMITS = Limits()


def running(wish: ClusterDesired) -> ClusterReport:
    """What a site says that has done it."""
    if wish.phase == ClusterDesired.DELETE:
        return answer(wish, ClusterReport.ABSENT)
    return answer(wish, ClusterReport.PRESENT, address=Address(host="10.0.0.1", state_port=1))


@dataclass
class World:
    """A hub that serves, and what a bridge needs to come to it."""

    hub: Hub
    registry: CollectorRegistry
    port: int
    directory: Path
    token: str

    def bridge(self, **fields: object) -> FakeBridge:
        authority = (self.directory / AUTHORITY_FILE).read_bytes()
        address = f"127.0.0.1:{self.port}"
        given = {"address": address, "token": self.token, "answer": running, "authority": authority} | fields
        return FakeBridge(**given)  # type: ignore[arg-type]

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    @asynccontextmanager
    async def connected(self, **fields: object) -> AsyncIterator[FakeBridge]:
        """A bridge that has been welcomed, and is gone afterwards."""
        bridge = self.bridge(**fields)
        task = asyncio.create_task(bridge.run(0.1))
        welcomed = asyncio.create_task(bridge.welcomed.wait())
        try:
            await asyncio.wait({task, welcomed}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            if task.done():
                await task
            assert bridge.welcomed.is_set()
            yield bridge
        finally:
            welcomed.cancel()
            task.cancel()
            await asyncio.gather(task, welcomed, return_exceptions=True)


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def serving(directory: Path, limits: Limits = LIMITS, clock: Callable[[], datetime] = now) -> AsyncIterator[World]:
    files = directory / "tls"
    if not files.exists():
        make(files, ["127.0.0.1", "localhost"])
    token, digest = issue()
    sites = {"fair": SiteSettings(digest, frozenset({"team"}))}
    settings = HubSettings(files / CERTIFICATE_FILE, files / KEY_FILE, sites, port=0, limits=limits)
    registry = CollectorRegistry()
    hub = Hub(settings, registry, clock)
    port = await hub.start(HUB_ID)
    try:
        yield World(hub, registry, port, files, token)
    finally:
        await hub.stop()


async def code_after(call: Any, *messages: Any) -> grpc.StatusCode:
    """With what a call ends on which those are said, which the hub reads. A write that meets the call's end hides its code, so to one that
    ends by itself nothing is said."""
    async with asyncio.timeout(20):
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it has ended at an earlier one
            for message in messages:
                await call.write(message)
        return await call.code()


def run(scenario: Awaitable[None], seconds: float = 60.0) -> None:
    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await scenario

    asyncio.run(limited())
