"""The hub's face to the network: whoever has no token, or has one and breaks the protocol, is refused, counted, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from matrix_operator.hub.certificates import AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, make
from matrix_operator.hub.settings import Limits
from matrix_proto.bridge_pb2 import ClusterReport, FromSite, Report
from tests.e2e.slurm.hub.world import World, code_after, run, serving
from tests.waiting import until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""With which HTTP/2 begins (RFC 9113, 3.4)."""
BRIDGE = "/matrix.bridge.v1.Bridge/"


@pytest.mark.parametrize("token", ["", "wrong", "x" * 4000])
@pytest.mark.parametrize("method", [BRIDGE + "Control", BRIDGE + "Tunnel", BRIDGE + "Unknown", "/grpc.reflection.v1.ServerReflection/X"])
def test_without_a_token_no_method_is_there(tmp_path: Path, method: str, token: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            credentials = grpc.ssl_channel_credentials((world.directory / AUTHORITY_FILE).read_bytes())
            async with grpc.aio.secure_channel(f"127.0.0.1:{world.port}", credentials) as channel:
                metadata = (("authorization", f"Bearer {token}"),) if token else ()
                call = channel.stream_stream(method)(metadata=metadata)
                assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
                assert world.token not in str(await call.details())
            assert world.counted("matrix_hub_refused_total", why="token") == 1

    run(scenario())


def test_a_digest_is_no_token(tmp_path: Path) -> None:
    """Whoever reads the operator's configuration can't be a site."""

    async def scenario() -> None:
        async with serving(tmp_path) as world:
            bridge = world.bridge(token=world.hub._settings.sites["fair"].token_sha256)
            async with bridge.channels() as (stub, _):
                assert await code_after(stub.Control(metadata=bridge.metadata)) is grpc.StatusCode.UNAUTHENTICATED

    run(scenario())


async def greeted(world: World, authority: bytes) -> tuple[grpc.StatusCode, str]:
    """How a call ends, and with what words, for which nothing comes of the connection."""
    bridge = world.bridge(authority=authority)
    async with bridge.channels() as (stub, _):
        call = stub.Control(metadata=bridge.metadata)
        return await code_after(call), str(await call.details())


def test_a_hub_that_its_authority_has_not_signed_gets_no_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        make(tmp_path / "other", ["127.0.0.1"])
        async with serving(tmp_path) as world:
            code, _ = await greeted(world, (tmp_path / "other" / AUTHORITY_FILE).read_bytes())
            assert code is grpc.StatusCode.UNAVAILABLE
            assert world.counted("matrix_hub_refused_total", why="token") == 0

    run(scenario())


def test_an_expired_certificate_is_refused_and_told_and_a_new_one_is_taken_without_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        long_ago = datetime.now(UTC) - timedelta(days=30)
        make(tmp_path / "tls", ["127.0.0.1"], timedelta(days=1), long_ago)
        async with serving(tmp_path) as world:
            assert world.counted("matrix_hub_certificate_expiry_seconds") < -28 * 86_400
            code, words = await greeted(world, (world.directory / AUTHORITY_FILE).read_bytes())
            assert code is grpc.StatusCode.UNAVAILABLE and "certificate" in words.lower()
            make(tmp_path / "new", ["127.0.0.1"])
            for name in (KEY_FILE, AUTHORITY_FILE, CERTIFICATE_FILE):  # the key first: for a moment they do not belong together
                (tmp_path / "new" / name).replace(world.directory / name)
                await tls(world)
            async with world.connected():
                pass
            assert world.counted("matrix_hub_certificate_expiry_seconds") > 800 * 86_400

    run(scenario())


async def tls(world: World) -> bytes:
    """One handshake that trusts anybody; the certificate that was shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown)


def test_a_thousand_connections_that_say_nothing_are_bounded_counted_and_closed(tmp_path: Path) -> None:
    limits = Limits(connections=64, handshake_seconds=3.0)

    async def scenario() -> None:
        async with serving(tmp_path, limits) as world, world.connected() as bridge:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            opened = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", world.port) for _ in range(1000)), return_exceptions=True)
            assert 1 <= world.counted("matrix_hub_connections") <= 2000
            readers = [pair[0] for pair in opened if not isinstance(pair, BaseException)]
            ends = await asyncio.gather(*(reader.read() for reader in readers), return_exceptions=True)
            assert len(ends) == len(readers), "each was closed"
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"
            for pair in opened:
                if not isinstance(pair, BaseException):
                    pair[1].transport.abort()
            assert world.counted("matrix_hub_site_connected", site="fair") == 1, "the bridge that was there stays"
            await until(lambda: world.counted("matrix_hub_connections") < 10, 60)
            async with world.connected(instance=bridge.instance):
                pass

    run(scenario(), 120)


def test_garbage_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Limits(handshake_seconds=3.0)) as world:
            for garbage in (os.urandom(10_000), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000), PREFACE):
                reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
                writer.write(garbage)
                try:
                    async with asyncio.timeout(30):
                        await reader.read()
                except ConnectionResetError:
                    pass
                writer.transport.abort()
            async with world.connected():
                pass

    run(scenario())


def test_garbage_within_tls_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        frames = (os.urandom(20_000), b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1000), b"")
        async with serving(tmp_path, Limits(handshake_seconds=3.0, idle_seconds=2.0)) as world:
            for garbage in (os.urandom(20_000), *(PREFACE + frame for frame in frames)):
                reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=context)
                writer.write(garbage)
                try:
                    async with asyncio.timeout(30):
                        while await reader.read(65_536):
                            pass
                except (ConnectionResetError, ssl.SSLError):
                    pass
                writer.transport.abort()
            async with world.connected():
                pass

    run(scenario(), 120)


async def control_ends(world: World, *messages: FromSite) -> grpc.StatusCode:
    """How a stream of the site ends that says those after its Hello."""
    bridge = world.bridge()
    async with bridge.channels() as (stub, _):
        call = stub.Control(metadata=bridge.metadata)
        await call.write(bridge.hello())
        await call.read()
        return await code_after(call, *messages)


def test_what_a_site_says_is_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Limits(message_bytes=100_000, clusters=10)) as world:
            many = FromSite(report=Report(clusters=[ClusterReport(uid=str(number)) for number in range(11)]))
            assert await control_ends(world, many) is grpc.StatusCode.RESOURCE_EXHAUSTED
            large = FromSite(report=Report(clusters=[ClusterReport(message="x" * 200_000)]))
            assert await control_ends(world, large) is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await control_ends(world, world.bridge().hello()) is grpc.StatusCode.INVALID_ARGUMENT
            assert world.counted("matrix_hub_refused_total", why="tooLarge") == 1
            async with world.connected():
                pass

    run(scenario())


def test_random_bytes_instead_of_messages_end_their_own_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world, world.connected() as good:
            credentials = grpc.ssl_channel_credentials((world.directory / AUTHORITY_FILE).read_bytes())
            metadata = (("authorization", f"Bearer {world.token}"),)
            async with grpc.aio.secure_channel(f"127.0.0.1:{world.port}", credentials) as channel:
                for _ in range(20):
                    call = channel.stream_stream(BRIDGE + "Control")(metadata=metadata)
                    assert await code_after(call, b"\xff" + os.urandom(500)) is grpc.StatusCode.INVALID_ARGUMENT
            assert good.welcomed.is_set()
            assert world.counted("matrix_hub_refused_total", why="unreadable") == 20
            assert not [record for record in caplog.records if record.exc_info], "a stranger's bytes are no failure of the hub"
            assert world.counted("matrix_hub_site_connected", site="fair") == 1

    run(scenario())


def test_a_call_that_says_nothing_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Limits(hello_seconds=0.5)) as world:
            bridge = world.bridge()
            async with bridge.channels() as (stub, tunnels):
                async with asyncio.timeout(20):
                    assert await stub.Control(metadata=bridge.metadata).code() is grpc.StatusCode.DEADLINE_EXCEEDED
                    assert await tunnels("").code() is grpc.StatusCode.NOT_FOUND
            assert world.counted("matrix_hub_refused_total", why="hello") == 1

    run(scenario())


def test_a_tunnel_call_can_not_be_used_by_another_site(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            waiting = world.hub._tunnels._waiting
            address = world.hub._tunnels.listen(("elsewhere", "uid", 4))  # type: ignore[arg-type]
            world.hub._tunnels._ask = lambda site, order: True
            host, _, port = address.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            await until(lambda: bool(waiting))
            bridge = world.bridge()
            async with bridge.channels() as (_, tunnel):
                assert await tunnel(next(iter(waiting))).code() is grpc.StatusCode.NOT_FOUND
            assert waiting, "it still waits for its own site"
            writer.transport.abort()

    run(scenario())
