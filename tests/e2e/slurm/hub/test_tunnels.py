"""Tunnels: bytes both ways, whole, in order; ends that are told from breaks; nothing of one connection in another."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from matrix_operator.hub.settings import Limits
from matrix_proto.bridge_pb2 import ClusterDesired, OpenTunnel, TunnelTarget
from matrix_proto.tunnel import BLOCK_BYTES, WINDOW_BYTES
from tests.e2e.slurm.hub.world import LIMITS, World, code_after, run, running, serving
from tests.fakes.bridge import FakeBridge, Tunnel
from tests.waiting import until

UID = "11111111-2222-3333-4444-555555555555"
GATEWAY = TunnelTarget.GATEWAY
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, back; then its own end."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def site(
    directory: Path, serve: Serve, limits: Limits = LIMITS, answering: Callable[[ClusterDesired], object] = running
) -> AsyncIterator[tuple[World, FakeBridge, tuple[str, int]]]:
    """A hub, a bridge, a server behind it, and the address of its tunnel."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with serving(directory, limits) as world, world.connected(ports={GATEWAY: port}, answer=answering) as bridge:
        world.hub.want("fair", ClusterDesired(uid=UID, namespace="team", name="lab", generation=1, attempt=1, phase=1, spec="{}"))
        await until(lambda: UID in world.hub._boards["fair"].reports)
        address = await world.hub.reach("fair", UID, GATEWAY)
        assert address is not None
        host, _, number = address.rpartition(":")
        yield world, bridge, (host, int(number))
    server.close()


def test_bytes_go_both_ways_whole_and_an_end_is_an_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path, echo) as (world, _, place):
            sent = os.urandom(3_000_001)
            reader, writer = await asyncio.open_connection(*place)

            async def send() -> None:
                writer.write(sent)
                await writer.drain()
                writer.write_eof()

            sending = asyncio.create_task(send())
            back = await reader.read()
            await sending
            assert hashlib.sha256(back).digest() == hashlib.sha256(sent).digest()
            writer.close()
            await until(lambda: world.counted("matrix_hub_tunnels", site="fair") == 0)
            assert world.counted("matrix_hub_tunnel_bytes_total", site="fair", direction="in") == len(sent)
            assert world.counted("matrix_hub_tunnel_bytes_total", site="fair", direction="out") == len(sent)
            assert world.counted("matrix_hub_tunnels_failed_total", site="fair", why="broken") == 0

    run(scenario())


def test_a_caller_that_has_said_all_still_hears_the_answer(tmp_path: Path) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()
        await asyncio.sleep(0.3)  # the answer takes its time
        writer.write(b"answer to " + asked)
        writer.close()

    async def scenario() -> None:
        async with site(tmp_path, late) as (_, _, place):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"question")
            writer.write_eof()
            assert await reader.read() == b"answer to question"
            writer.close()

    run(scenario())


def test_many_at_once_are_kept_apart(tmp_path: Path) -> None:
    async def ask(place: tuple[str, int], number: int) -> bool:
        sent = f"{number};".encode() * 20_000
        reader, writer = await asyncio.open_connection(*place)
        writer.write(sent)
        writer.write_eof()
        back = await reader.read()
        writer.close()
        return back == sent

    async def scenario() -> None:
        async with site(tmp_path, echo) as (_, _, place):
            assert all(await asyncio.gather(*(ask(place, number) for number in range(50))))

    run(scenario())


def test_who_reads_slowly_slows_the_sender_and_fills_no_memory(tmp_path: Path) -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 500_000_000:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async def scenario() -> None:
        async with site(tmp_path, pour) as (_, _, place):
            reader, writer = await asyncio.open_connection(*place)
            await until(lambda: sent > 0)
            before, still = -1, 0
            while still < 10:  # until nothing has moved for a second
                still = still + 1 if sent == before else 0
                before = sent
                await asyncio.sleep(0.1)
            assert 0 < sent < 50_000_000
            assert len(await reader.read(65_536)) > 0
            writer.transport.abort()

    run(scenario())


def resident() -> int:
    """Bytes that this process holds: hub, bridge and server together."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_many_who_read_slowly_beside_one_who_reads_fast_fill_no_memory(tmp_path: Path) -> None:
    """gRPC would widen the windows of all to what the fast one can use."""
    many, mine = 50, 5 * (BLOCK_BYTES + WINDOW_BYTES)
    """What each may cost: a block and a window at the hub, a block and the server's buffers at the site, and what allocators keep."""
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async def scenario() -> None:
        async with site(tmp_path, pour) as (_, _, place):
            fast, writer = await asyncio.open_connection(*place)

            async def swallow(count: int) -> None:
                while count > 0:
                    count -= len(await fast.read(1024**2))

            await swallow(100_000_000)
            before = resident()
            slow = [await asyncio.open_connection(*place, limit=1024) for _ in range(many)]
            await swallow(100_000_000)
            writer.transport.abort()
            last, still = -1, 0
            while still < 10:  # until nothing has moved for a second
                still = still + 1 if sent == last else 0
                last = sent
                await asyncio.sleep(0.1)
            assert resident() - before < many * mine
            for _, one in slow:
                one.transport.abort()

    run(scenario(), 240)


async def reset(place: tuple[str, int]) -> str:
    """How a connection there ends: whole, or reset."""
    reader, writer = await asyncio.open_connection(*place)
    try:
        writer.write(b"x")
        return f"ended after {len(await reader.read())} bytes"
    except ConnectionResetError:
        return "reset"
    finally:
        writer.transport.abort()


def test_what_breaks_at_the_site_is_no_whole_answer(tmp_path: Path) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half an ans")
        await writer.drain()
        await reader.read(1)
        # Without any linger the kernel sends a reset, as for a process that was killed with data unread.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def scenario() -> None:
        async with site(tmp_path, half) as (world, _, place):
            assert await reset(place) == "reset"
            await until(lambda: world.counted("matrix_hub_tunnels_failed_total", site="fair", why="broken") == 1)

    run(scenario())


def test_a_site_that_refuses_or_does_not_answer_costs_one_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path, echo) as (world, bridge, place):
            port = bridge.ports.pop(GATEWAY)
            assert await reset(place) == "reset"
            assert world.counted("matrix_hub_tunnels_failed_total", site="fair", why="refused") == 1

            async def ignored(*_: object) -> None:
                """As a bridge that hangs."""

            tunnel, bridge.tunnel = bridge.tunnel, ignored  # type: ignore[method-assign]
            world.hub._tunnels._limits = Limits(tunnel_seconds=1.0)
            assert await reset(place) == "reset"
            assert world.counted("matrix_hub_tunnels_failed_total", site="fair", why="unanswered") == 1
            world.hub._tunnels._limits = LIMITS  # what answers has as long as it needs
            bridge.tunnel, bridge.ports[GATEWAY] = tunnel, port  # type: ignore[method-assign]
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            writer.close()

    run(scenario())


def test_without_a_bridge_a_connection_is_reset_at_once_and_the_address_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path, echo) as (world, _, place):
            world.hub._control._sessions["fair"].replaced.set()
            await until(lambda: world.counted("matrix_hub_site_connected", site="fair") == 0)
            assert await reset(place) == "reset"
            assert world.counted("matrix_hub_tunnels_failed_total", site="fair", why="notConnected") == 1
            assert await world.hub.reach("fair", UID, GATEWAY) == f"{place[0]}:{place[1]}"

    run(scenario())


def test_a_cluster_that_is_forgotten_takes_its_ports_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path, echo) as (world, _, place):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            world.hub.forget("fair", UID)
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*place)
            await until(lambda: world.counted("matrix_hub_tunnels", site="fair") == 0)

    run(scenario())


def test_a_site_has_so_many_tunnels_and_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path, echo, Limits(tunnels=3)) as (world, _, place):
            opened = [await asyncio.open_connection(*place) for _ in range(3)]
            for reader, writer in opened:
                writer.write(b"x")
                assert await reader.read(1) == b"x"
            assert await reset(place) == "reset"
            assert world.counted("matrix_hub_tunnels_failed_total", site="fair", why="tooMany") == 1
            for _, writer in opened:
                writer.close()

    run(scenario())


def test_a_tunnel_through_which_nothing_comes_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path, echo, Limits(tunnel_idle_seconds=3.0)) as (world, _, place):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            await until(lambda: world.counted("matrix_hub_tunnels", site="fair") == 0)

    run(scenario())


@pytest.mark.parametrize("order", ["guessed", ""])
def test_a_call_that_nobody_waits_for_is_refused(tmp_path: Path, order: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            async with world.bridge().channels() as (_, tunnel):
                assert await tunnel(order).code() is grpc.StatusCode.NOT_FOUND
            assert world.counted("matrix_hub_refused_total", why="unknownTunnel") == 1

    run(scenario())


def test_a_frame_that_is_too_large_costs_its_own_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path, echo) as (world, bridge, place):

            async def oversized(_: object, tunnel: Tunnel, order: OpenTunnel) -> None:
                await code_after(tunnel(order.id), bytes(BLOCK_BYTES + 1))

            bridge.tunnel = oversized  # type: ignore[method-assign,assignment]
            assert await reset(place) == "reset"
            assert world.counted("matrix_hub_refused_total", why="tooLarge") == 1
            assert world.counted("matrix_hub_site_connected", site="fair") == 1

    run(scenario())
