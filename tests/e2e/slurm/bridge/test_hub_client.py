"""The bridge's own way to a real hub: over TLS, with its token; jobs are in memory, everything else is real."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from matrix_operator.backends.slurm.sites import SiteReport
from matrix_operator.hub.certificates import AUTHORITY_FILE
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport, Hello, TunnelTarget
from matrix_slurm_bridge.agent.journal import Journal
from matrix_slurm_bridge.agent.lock import AgentLock
from matrix_slurm_bridge.agent.loop import Agent
from matrix_slurm_bridge.agent.settings import AgentSettings
from matrix_slurm_bridge.hub.client import HubClient
from matrix_slurm_bridge.hub.endpoint import PING_SECONDS, HubEndpoint
from matrix_slurm_bridge.node.record import FILE, HeadPorts, HeadRecord
from matrix_slurm_bridge.render.profile import ProfileDirectives
from matrix_slurm_bridge.slurm.port import JobPhase
from tests.e2e.slurm.hub.world import World, run, serving
from tests.unit.slurm_agent.fake_slurm import FakeSlurm
from tests.unit.slurm_agent.samples import EARLIER, UID, spec
from tests.waiting import until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GATEWAY = TunnelTarget.GATEWAY


@dataclass
class Site:
    """An agent with its client."""

    slurm: FakeSlurm
    agent: Agent
    client: HubClient
    journal: Journal
    shared: Path


def _token(shared: Path, text: str) -> Path:
    shared.mkdir(exist_ok=True)
    path = shared / "token"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@asynccontextmanager
async def bridged(
    world: World, shared: Path, slurm: FakeSlurm | None = None, port: int = 0, ping_seconds: float = PING_SECONDS, slow_seconds: float = 0.0
) -> AsyncIterator[Site]:
    """`port`: the way to the hub, if it is not the straight one. `slow_seconds`: what the journal takes to say whose the site is."""
    token = _token(shared, world.token)
    settings = AgentSettings("fair", shared, {"default": ProfileDirectives("default", "/usr/bin/python3")}, poll_seconds=1.0)
    lock = AgentLock(shared / "agent")
    lock.acquire()
    journal, slurm = Journal(shared / "agent" / "journal.db"), slurm or FakeSlurm()
    agent = Agent(slurm, lambda: settings, journal, lock)
    endpoint = HubEndpoint(f"127.0.0.1:{port or world.port}", "fair", token, world.directory / AUTHORITY_FILE, ping_seconds)
    hello = Hello(protocol=1, site="fair", host="login1", user="u", instance="i1")

    async def bind(hub: str) -> None:
        journal.bind(hub)

    async def bound() -> str:
        await asyncio.sleep(slow_seconds)
        return journal.hub_id()

    client = HubClient(endpoint, agent, hello, bound, bind)
    tasks = [asyncio.create_task(agent.run()), asyncio.create_task(client.run())]
    try:
        yield Site(slurm, agent, client, journal, shared)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        journal.close()
        lock.release()


def wish(phase: ClusterDesired.Phase = ClusterDesired.PRESENT, generation: int = 1) -> ClusterDesired:
    secrets = {"ray-token": b"r"} if phase == ClusterDesired.PRESENT else {}
    return ClusterDesired(
        uid=UID, namespace="team", name="lab", generation=generation, phase=phase, attempt=1, spec=spec(), secrets=secrets
    )


def told(world: World) -> ClusterReport | None:
    found = world.hub.report("fair", UID)
    return found.report if isinstance(found, SiteReport) else None


def head_up(site: Site, gateway: int) -> None:
    """As the head's program would."""
    site.slurm.change(site.slurm.queue[0], phase=JobPhase.RUNNING, started_at=EARLIER, host="n1")
    ports = HeadPorts(gcs=1, dashboard=2, state=3, directory=4, gateway=gateway)
    record = HeadRecord(uid=UID, attempt=1, serial=1, host="n1", address="127.0.0.1", ports=ports, up=True)
    (site.shared / "clusters" / UID / FILE).write_text(record.model_dump_json(by_alias=True))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_from_the_hubs_wish_to_jobs_a_tunnel_and_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with serving(tmp_path) as world, bridged(world, tmp_path / "shared") as site:
            world.hub.want("fair", wish())
            await until(lambda: (report := told(world)) is not None and report.head.job_id == "101")
            head_up(site, server.sockets[0].getsockname()[1])
            await until(lambda: (report := told(world)) is not None and report.HasField("address"))
            place = await world.hub.reach("fair", UID, GATEWAY)
            assert place is not None
            host, _, port = place.rpartition(":")
            assert await _echoed(host, int(port), sent := os.urandom(2_000_003)) == sent
            world.hub.want("fair", wish(ClusterDesired.DELETE, 2))
            await until(lambda: (report := told(world)) is not None and report.presence == ClusterReport.ABSENT)
            report = told(world)
            assert report is not None and (report.phase, report.generation) == (ClusterDesired.DELETE, 2)
            assert not (tmp_path / "shared" / "clusters" / UID).exists()
        server.close()

    run(scenario(), 120)


async def _echoed(host: str, port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)

    async def send() -> None:
        writer.write(sent)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    received = await reader.read(-1)
    await sending
    writer.close()
    return received


def test_a_head_that_refuses_the_connection_resets_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket() as deaf:  # it has the port throughout, and does not listen there
            deaf.bind(("127.0.0.1", 0))
            await refused(deaf.getsockname()[1])

    async def refused(port: int) -> None:
        async with serving(tmp_path) as world, bridged(world, tmp_path / "shared") as site:
            world.hub.want("fair", wish())
            await until(lambda: bool(site.slurm.queue))
            head_up(site, port)
            await until(lambda: (report := told(world)) is not None and report.HasField("address"))
            place = await world.hub.reach("fair", UID, GATEWAY)
            assert place is not None
            host, _, number = place.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(number))
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    run(scenario(), 120)


def test_while_the_hub_is_away_clusters_are_kept_and_another_hub_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        slurm = FakeSlurm()
        async with serving(tmp_path) as world:
            async with bridged(world, tmp_path / "shared", slurm):
                world.hub.want("fair", wish())
                await until(lambda: bool(slurm.queue))
            await world.hub.stop()
            async with bridged(world, tmp_path / "shared", slurm) as site:
                await until(lambda: site.agent.looked)
                slurm.change(slurm.queue[0], phase=JobPhase.LOST, state="NODE_FAIL", started_at=EARLIER, ended_at=EARLIER.replace(hour=15))
                await until(lambda: len(slurm.queue) == 2)
                assert slurm.queue[1].tag.serial == 2
                await until(lambda: bool(site.client.state.problem))

    run(scenario(), 120)


def test_the_site_is_bound_to_the_first_hub(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            async with bridged(world, tmp_path / "shared") as site:
                await until(lambda: site.client.state.connected)
                assert site.journal.hub_id() == "hub-1"
                site.journal.unbind()
                site.journal.bind("hub-0")
            async with bridged(world, tmp_path / "shared") as site:
                await until(lambda: "belongs to hub hub-0" in site.client.state.problem)

    run(scenario(), 120)


def test_a_wrong_token_and_an_untrusted_certificate_are_told_with_what_to_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            world.token = "x" * 43
            async with bridged(world, tmp_path / "shared") as site:
                await until(lambda: "ask its operator for a new one" in site.client.state.problem)
            async with bridged(world, tmp_path / "shared", slow_seconds=0.5) as site:  # refused before it has said Hello
                await until(lambda: "ask its operator for a new one" in site.client.state.problem)
            with suppress(FileNotFoundError):
                (tmp_path / "tls" / AUTHORITY_FILE).unlink()
            async with bridged(world, tmp_path / "shared") as site:
                await until(lambda: "can't be read" in site.client.state.problem)

    run(scenario(), 120)


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    from matrix_slurm_bridge.hub.endpoint import HubError

    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o640)
    with pytest.raises(HubError, match="chmod 600"):
        HubEndpoint("h:1", "fair", token).token()
    token.chmod(0o600)
    assert HubEndpoint("h:1", "fair", token).token() == "secret"
    token.write_text("two words")
    with pytest.raises(HubError, match="one token, in one line"):
        HubEndpoint("h:1", "fair", token).token()
