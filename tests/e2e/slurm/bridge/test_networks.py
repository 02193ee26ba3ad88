"""The network between a bridge and its hub is cut: in the middle of an answer, for long, for a moment; and the hub comes back another one.
The bridge's own client and a real hub, over TLS; jobs are in memory."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from matrix_operator.hub.settings import Limits
from matrix_proto.bridge_pb2 import ClusterReport
from tests.e2e.slurm.bridge.test_hub_client import GATEWAY, Serve, Site, bridged, head_up, told, wish
from tests.e2e.slurm.hub.world import World, run, serving
from tests.lab.network import Network, network
from tests.lab.ports import free_port
from tests.unit.slurm_agent.samples import UID
from tests.waiting import until

ANSWER = os.urandom(3_000_000)
PING_SECONDS = 3.0
"""A busy machine answers within that."""
QUICK = Limits(keepalive_seconds=PING_SECONDS, tunnel_seconds=5.0)
Place = tuple[str, int]


@dataclass
class Way:
    """From a user to a server at a site."""

    world: World
    site: Site
    network: Network
    place: Place
    goes_on: asyncio.Event
    """Cleared: answers stop in the middle."""

    async def ask(self) -> bytes:
        """The whole answer. Raises ConnectionResetError; a hang is a TimeoutError."""
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*self.place)
            try:
                writer.write(b"?")
                return await reader.read()
            finally:
                writer.transport.abort()


@asynccontextmanager
async def joined(directory: Path, limits: Limits, ping_seconds: float, serve: Serve | None = None) -> AsyncIterator[Way]:
    """`serve`: of the server at the site; by default it says ANSWER."""
    goes_on = asyncio.Event()
    goes_on.set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Once asked: as an old HTTP server does it, whose answer ends with the connection."""
        await reader.read(1)
        writer.write(ANSWER[: len(ANSWER) // 2])
        await goes_on.wait()
        writer.write(ANSWER[len(ANSWER) // 2 :])
        writer.close()

    server = await asyncio.start_server(serve or answer, "127.0.0.1", 0)
    async with (
        serving(directory, limits) as world,
        network(world.port) as between,
        bridged(world, directory / "shared", port=between.entrance, ping_seconds=ping_seconds) as site,
    ):
        world.hub.want("fair", wish())
        await until(lambda: bool(site.slurm.queue))
        head_up(site, server.sockets[0].getsockname()[1])
        await until(lambda: (report := told(world)) is not None and report.HasField("address"))
        address = await world.hub.reach("fair", UID, GATEWAY)
        assert address is not None
        host, _, port = address.rpartition(":")
        yield Way(world, site, between, (host, int(port)), goes_on)
    server.close()


@pytest.mark.parametrize("count", [1, 5_000, 300_001, 1_700_003])
def test_a_connection_cut_in_the_middle_of_a_frame_is_a_reset_and_no_whole_answer(tmp_path: Path, count: int) -> None:
    async def scenario() -> None:
        async with joined(tmp_path, Limits(), 10.0) as way:
            assert await way.ask() == ANSWER
            before = way.site.client.state.since
            way.network.cut_after(count)
            with pytest.raises(ConnectionResetError):
                await way.ask()
            await until(lambda: way.site.client.state.connected and way.site.client.state.since != before)
            assert await way.ask() == ANSWER
            assert len(way.site.slurm.queue) == 1, "nothing was submitted again"

    run(scenario())


def test_a_network_that_is_gone_for_long_is_told_at_both_ends_and_found_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path, QUICK, PING_SECONDS) as way:
            way.goes_on.clear()
            asking = asyncio.create_task(way.ask())
            await until(lambda: way.world.counted("matrix_hub_tunnels", site="fair") == 1)
            way.network.stall()
            way.goes_on.set()
            with pytest.raises(ConnectionResetError):
                await asking
            await until(lambda: not way.site.client.state.connected and "ping timeout" in way.site.client.state.problem.lower())
            with pytest.raises(ConnectionResetError):
                await way.ask()
            await until(lambda: way.world.counted("matrix_hub_site_connected", site="fair") == 0)
            way.network.mend()
            await until(lambda: way.site.client.state.connected, 60)
            await until(lambda: way.world.counted("matrix_hub_site_connected", site="fair") == 1)
            assert await way.ask() == ANSWER
            assert len(way.site.slurm.queue) == 1

    run(scenario(), 120)


def test_half_a_request_whose_sender_breaks_off_is_no_whole_one_to_the_server(tmp_path: Path) -> None:
    heard: list[str] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readexactly(4)).decode())
        try:
            heard.append(f"ended: {await reader.read()!r}")
        except ConnectionResetError:
            heard.append("reset")
        writer.close()

    async def scenario() -> None:
        async with joined(tmp_path, Limits(), 10.0, hear) as way:
            _, writer = await asyncio.open_connection(*way.place)
            writer.write(b"half")
            await until(lambda: heard == ["half"])
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await until(lambda: len(heard) == 2)
            assert heard == ["half", "reset"]

    run(scenario())


def test_a_moment_without_a_network_costs_nothing_but_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path, Limits(), 10.0) as way:
            way.goes_on.clear()
            asking = asyncio.create_task(way.ask())
            await until(lambda: way.world.counted("matrix_hub_tunnels", site="fair") == 1)
            way.network.stall()
            way.goes_on.set()
            await asyncio.sleep(1)
            way.network.mend()
            assert await asking == ANSWER
            assert way.site.client.state.connected

    run(scenario())


def test_a_hub_that_comes_back_with_an_empty_memory_hears_of_the_cluster_and_nothing_is_done_to_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with joined(tmp_path, Limits(), 10.0) as way:
            await way.world.hub.stop()
            await until(lambda: not way.site.client.state.connected)
            async with serving(tmp_path) as again:
                (way.site.shared / "token").write_text(again.token)
                way.network.port = again.port
                await until(lambda: told(again) is not None, 60)
                report = told(again)
                assert report is not None and report.presence == ClusterReport.PRESENT
                again.hub.want("fair", wish())
                address = await again.hub.reach("fair", UID, GATEWAY)
                assert address is not None
                host, _, port = address.rpartition(":")
                assert await Way(again, way.site, way.network, (host, int(port)), way.goes_on).ask() == ANSWER
                assert len(way.site.slurm.queue) == 1

    run(scenario(), 120)


def test_a_bridge_that_comes_to_an_operator_that_stands_by_tries_again_soon_and_says_little(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands by without a port: the connection is refused."""
    port = free_port()

    async def scenario() -> None:
        async with serving(tmp_path) as world, bridged(world, tmp_path / "shared", port=port) as site:
            await until(lambda: f"127.0.0.1:{port} refuses connections" in site.client.state.problem)
            assert not [record for record in caplog.records if record.name.startswith("matrix_slurm_bridge.hub")]
            async with network(world.port, port):
                began = time.monotonic()
                await until(lambda: site.client.state.connected)
                assert time.monotonic() - began < 5

    with caplog.at_level("WARNING"):
        run(scenario())
