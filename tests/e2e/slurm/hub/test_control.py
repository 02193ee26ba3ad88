"""Bridges that come, report, collide and go; over real TLS and gRPC."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from matrix_operator.backends.slurm.sites import SiteRefusal, SiteReport, SiteSilence
from matrix_operator.hub.settings import Limits
from matrix_proto.bridge_pb2 import ClusterDesired, FromSite, Hello
from tests.e2e.slurm.hub.world import HUB_ID, World, code_after, now, run, serving
from tests.lab.network import network
from tests.waiting import until

UID = "11111111-2222-3333-4444-555555555555"


def wish(phase: ClusterDesired.Phase = ClusterDesired.PRESENT, namespace: str = "team", **fields: object) -> ClusterDesired:
    return ClusterDesired(uid=UID, namespace=namespace, name="lab", generation=1, attempt=1, phase=phase, spec="{}", **fields)


def heard(world: World) -> bool:
    return isinstance(world.hub.report("fair", UID), SiteReport)


def test_what_is_wanted_reaches_the_site_and_its_report_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            world.hub.want("fair", wish(secrets={"ray-token": b"x"}))  # before a bridge is there
            before = world.hub.report("fair", UID)
            assert isinstance(before, SiteSilence)
            assert not before.listening
            assert "no bridge of site fair has come since" in before.message
            async with world.connected() as bridge:
                assert bridge.hub == HUB_ID
                await until(lambda: heard(world))
                assert [(told.uid, dict(told.secrets)) for told in bridge.told] == [(UID, {"ray-token": b"x"})]
                pulse = world.hub.pulse("fair", UID)
                world.hub.want("fair", wish(secrets={"ray-token": b"x"}))  # nothing new
                world.hub.want("fair", wish(ClusterDesired.DELETE))
                await until(lambda: world.hub.pulse("fair", UID) != pulse)
                assert [told.phase for told in bridge.told] == [ClusterDesired.PRESENT, ClusterDesired.DELETE]
                assert world.counted("matrix_hub_site_connected", site="fair") == 1

    run(scenario())


def test_a_site_that_listens_says_so_before_it_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world, world.connected():
            await until(lambda: world.hub.report("fair", UID) == SiteSilence("site fair has not reported of it yet"))

    run(scenario())


def test_everything_wanted_is_said_again_after_each_new_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            world.hub.want("fair", wish())
            for instance in ("i1", "i2"):
                async with world.connected(instance=instance) as bridge:
                    await until(lambda bridge=bridge: len(bridge.told) == 1)
                await until(lambda: world.counted("matrix_hub_site_connected", site="fair") == 0)

    run(scenario())


def test_a_short_absence_makes_nothing_unknown_a_long_one_does(tmp_path: Path) -> None:
    later = timedelta()

    async def scenario() -> None:
        nonlocal later
        async with serving(tmp_path, Limits(report_seconds=60.0), lambda: now() + later) as world:
            world.hub.want("fair", wish())
            async with world.connected():
                await until(lambda: heard(world))
            await until(lambda: world.counted("matrix_hub_site_connected", site="fair") == 0)
            assert heard(world)
            pulse = world.hub.pulse("fair", UID)
            later = timedelta(seconds=61)
            gone = world.hub.report("fair", UID)
            assert isinstance(gone, SiteSilence)
            assert "the bridge of site fair (u@login1) is not connected since" in gone.message
            assert world.hub.pulse("fair", UID) != pulse, "else it would be noticed a minute later"

    run(scenario())


def test_of_two_bridges_the_first_stays_and_the_second_hears_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world, world.connected(host="login1", instance="a") as first:
            with pytest.raises(BaseExceptionGroup) as caught:
                async with world.connected(host="login2", instance="b"):
                    pass
            (error,) = caught.value.exceptions
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.ALREADY_EXISTS
            assert "site fair has a bridge already: u@login1" in str(error.details())
            assert world.counted("matrix_hub_refused_total", why="collision") == 1
            world.hub.want("fair", wish())
            await until(lambda: len(first.told) == 1)

    run(scenario())


def test_the_same_bridge_may_come_again_before_its_former_stream_has_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world, world.connected(instance="a"), world.connected(instance="a") as again:
            world.hub.want("fair", wish())
            await until(lambda: len(again.told) == 1)
            await until(lambda: heard(world))

    run(scenario())


def test_a_bridge_that_says_nothing_makes_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, Limits(report_seconds=1.0)) as world:
            bridge = world.bridge()
            async with bridge.channels() as (stub, _):
                call = stub.Control(metadata=bridge.metadata)
                await call.write(bridge.hello())
                await call.read()
                assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert world.counted("matrix_hub_refused_total", why="silent") == 1

    run(scenario())


@pytest.mark.parametrize(
    ("hello", "code", "words"),
    [
        (Hello(protocol=2, site="fair", instance="i"), grpc.StatusCode.FAILED_PRECONDITION, "version 2 of the protocol, this hub 1"),
        (Hello(protocol=1, site="other", instance="i"), grpc.StatusCode.PERMISSION_DENIED, "the token is that of site fair"),
        (Hello(protocol=1, site="fair", instance="i", hub_id="h9"), grpc.StatusCode.FAILED_PRECONDITION, "the site belongs to hub h9"),
        (Hello(protocol=1, site="fair"), grpc.StatusCode.INVALID_ARGUMENT, "instance"),
        (None, grpc.StatusCode.INVALID_ARGUMENT, "begins with Hello"),
    ],
)
def test_a_hello_that_is_wrong_is_told_why(tmp_path: Path, hello: Hello | None, code: grpc.StatusCode, words: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            bridge = world.bridge()
            async with bridge.channels() as (stub, _):
                call = stub.Control(metadata=bridge.metadata)
                assert await code_after(call, FromSite(hello=hello) if hello else FromSite()) is code
                assert words in str(await call.details())

    run(scenario())


def test_who_may_use_a_site(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            with pytest.raises(SiteRefusal, match=r"namespace others may not use site fair.*hub\.sites\.fair\.namespaces"):
                world.hub.want("fair", wish(namespace="others"))
            world.hub.want("fair", wish(ClusterDesired.DELETE, namespace="others"))  # what it has there may always go
            with pytest.raises(SiteRefusal, match="no site nowhere is known to this operator's hub"):
                world.hub.want("nowhere", wish())
            assert world.hub.report("nowhere", UID) == SiteSilence(
                "no site nowhere is known to this operator's hub (there is fair); choose one of these, or add it to hub.sites",
                listening=False,
            )

    run(scenario())


def test_a_hub_of_that_id_that_starts_again_hears_all_of_it_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as world:
            world.hub.want("fair", wish())
            async with world.connected() as bridge:
                await until(lambda: heard(world))
        async with serving(tmp_path) as again, again.connected(hub_id=HUB_ID, instance="i2", _reports=dict(bridge._reports)):
            await until(lambda: heard(again))
            found = again.hub.report("fair", UID)
            assert isinstance(found, SiteReport)
            assert found.report.attempt == 1

    run(scenario())


def test_a_network_that_swallows_everything_is_noticed(tmp_path: Path) -> None:
    """Neither side sees an end: only that pings are not answered."""

    async def scenario() -> None:
        async with (
            serving(tmp_path, Limits(keepalive_seconds=3.0, report_seconds=3600.0)) as world,
            network(world.port) as way,
            world.connected(address=f"127.0.0.1:{way.entrance}"),
        ):
            await until(lambda: world.counted("matrix_hub_site_connected", site="fair") == 1)
            way.stall()
            await until(lambda: world.counted("matrix_hub_site_connected", site="fair") == 0, 40)
            async with world.connected(instance="another"):
                pass

    run(scenario())


def test_a_frozen_bridge_is_noticed(tmp_path: Path) -> None:
    """Its socket stays, but nothing is said: another one may come after the time of silence."""

    async def scenario() -> None:
        async with serving(tmp_path, Limits(report_seconds=2.0)) as world:
            frozen = world.bridge(instance="a", answer=None)
            task = asyncio.create_task(frozen.run(3600))
            await frozen.welcomed.wait()
            started = asyncio.get_running_loop().time()
            await until(lambda: world.counted("matrix_hub_site_connected", site="fair") == 0)
            assert asyncio.get_running_loop().time() - started < 10
            async with world.connected(instance="b"):
                pass
            await asyncio.gather(task, return_exceptions=True)
            assert timedelta(seconds=world.counted("matrix_hub_report_age_seconds", site="fair")) < timedelta(seconds=10)

    run(scenario())
