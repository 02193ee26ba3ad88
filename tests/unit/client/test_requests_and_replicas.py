"""Requests over real gRPC while replicas, the directory and the cluster come, go and change."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from matrix_client import AsyncMatrix, fleet, picker
from matrix_client.errors import (
    NeedsUser,
    NotReady,
    RequestTimeout,
    Unreachable,
)
from matrix_proto import directory_pb2
from matrix_store.errors import NotFound
from tests.unit.client.directory import replica as known
from tests.unit.client.labs import Lab, ask_both, both_raise, in_lab, streamed
from tests.unit.client.replica import Replica, endpoint
from tests.unit.client.worlds import CHAT, LAB, SPECS, World, ready
from tests.waiting import until

PROBE_SECONDS = 20.0
"""Far longer than a request that is given up takes, whatever else the machine does."""


def test_replicas_come_and_go_while_requests_run(world: World) -> None:
    async def work(lab: Lab) -> None:
        old = lab.replicas[0]
        old.held = asyncio.Event()
        stream = await lab.matrix.chat("chat", "hello", stream=True)
        assert str(await anext(stream)) == "one"
        new = await lab.add()
        lab.tell(old, state=directory_pb2.Replica.DRAINING)
        await until(lambda: _states(lab) == {"r0": "Draining", "r1": "Ready"})
        for _ in range(5):
            await ask_both(lab)
        lab.directory.remove("r0")
        await until(lambda: set(_states(lab)) == {"r1"})
        assert (len(old.requests), len(new.requests)) == (1, 10)
        old.held.set()
        assert [delta.text async for delta in stream] == [" two", " three", ""], "what was under way comes to its end"
        assert set(_lines(lab)) == {"r1"}, "and then the connection is let go"

    in_lab(world, work)


def _states(lab: Lab) -> dict[str, str]:
    assert lab.matrix._inference is not None
    ((_, fleet),) = lab.matrix._inference._routes._fleets.values()
    return {id_: str(replica.state) for id_, replica in fleet.watch.replicas.items()}


def _lines(lab: Lab) -> Any:
    assert lab.matrix._inference is not None
    ((_, fleet),) = lab.matrix._inference._routes._fleets.values()
    return fleet._lines


def test_without_the_directory_it_goes_on_and_with_it_again_it_learns(world: World) -> None:
    async def work(lab: Lab) -> None:
        await ask_both(lab)
        await lab.directory.stop()
        for _ in range(3):
            await ask_both(lab)
        new = await lab.add(seen=False)
        lab.directory.replicas.clear()
        lab.tell(new)
        await lab.directory.start()
        await until(lambda: set(_states(lab)) == {"r1"})
        await ask_both(lab)
        assert lab.asked == [8, 2]

    in_lab(world, work)


def test_a_probe_takes_no_longer_than_the_request_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PROBE_SECONDS", PROBE_SECONDS)

    async def work(lab: Lab) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            lab.directory.put(known("mute", f"127.0.0.1:{mute.getsockname()[1]}", suspect=True))
            begun = time.monotonic()
            with pytest.raises(RequestTimeout, match=r"no answer within 1 s; the last try: .* gives no sign of life"):
                await lab.matrix.chat("chat", "hello", timeout=1)
            assert time.monotonic() - begun < PROBE_SECONDS

    in_lab(world, work, replicas=0)


def test_a_suspect_replica_is_probed_first_and_used_only_if_there_is_no_other(world: World) -> None:
    async def work(lab: Lab) -> None:
        suspect = await lab.add(suspect=True)
        await ask_both(lab)
        assert (len(suspect.requests), suspect.probes) == (1 * 2, 1)
        sound = await lab.add()
        await until(lambda: len(_states(lab)) == 2)
        for _ in range(5):
            await ask_both(lab)
        assert (len(suspect.requests), len(sound.requests)) == (2, 10)
        await suspect.stop()
        lab.directory.remove("r1")
        await until(lambda: len(_states(lab)) == 1)
        await both_raise(lab, Unreachable, "gives no sign of life", patience=0.1)

    in_lab(world, work, replicas=0)


def test_requests_wait_for_a_first_replica(world: World) -> None:
    async def work(lab: Lab) -> None:
        asking = [asyncio.create_task(ask_both(lab)) for _ in range(20)]
        await until(lambda: lab.matrix._inference is not None and lab.directory.watchers == 1)
        await lab.add()
        await asyncio.gather(*asking)
        assert lab.asked == [40]

    in_lab(world, work, replicas=0)


def test_giving_up_says_what_was_waited_for(world: World) -> None:
    async def work(lab: Lab) -> None:
        await asyncio.to_thread(world.put, CHAT, ready("False", "Loading", "weights, 20 %"))
        words = r"ModelDeployment/chat is not ready \(Loading\): weights, 20 %; see `matrix why ModelDeployment/chat`"
        error = await both_raise(lab, NotReady, words, patience=0.2)
        assert not isinstance(error, NeedsUser)
        with pytest.raises(RequestTimeout, match=r"no replica of chat took the request within 0.2 s: weights, 20 %"):
            await lab.matrix.chat("chat", "hello", timeout=0.2)

    in_lab(world, work, replicas=0)


def test_what_only_the_user_can_change_is_not_waited_for(world: World) -> None:
    async def work(lab: Lab) -> None:
        await asyncio.to_thread(world.put, CHAT, ready("False", "ModelNotFound", "no such repository"))
        await both_raise(lab, NeedsUser, "no such repository")

    in_lab(world, work, replicas=0)


def test_a_model_scaled_to_zero_is_not_waited_for_and_is_found_when_it_is_scaled_up(world: World) -> None:
    async def work(lab: Lab) -> None:
        none = SPECS["ModelDeployment"] | {"replicas": 0}
        await asyncio.to_thread(world.put, CHAT, ready(), none)
        await both_raise(lab, NotReady, r"scaled to zero; `matrix scale ModelDeployment/chat --replicas 1`")
        await asyncio.to_thread(world.put, CHAT, ready(), SPECS["ModelDeployment"])
        asking = asyncio.create_task(ask_both(lab))
        await asyncio.sleep(0.2)
        assert not asking.done(), "what was known of the deployment is not taken for what is"
        await lab.add()
        await asking

    in_lab(world, work, replicas=0)


def test_while_a_request_waits_it_says_what_for(world: World) -> None:
    told: list[str] = []

    async def work(lab: Lab) -> None:
        await asyncio.to_thread(world.put, CHAT, ready("False", "Loading", "weights, 20 %"))
        async with AsyncMatrix(home=world.home.root, on_wait=told.append) as matrix:
            with pytest.raises(NotReady):
                await matrix.chat("chat", "hello", patience=3)
        assert told and set(told) == {"weights, 20 %; see `matrix why ModelDeployment/chat`"}

    in_lab(world, work, replicas=0)


def test_a_cluster_that_comes_up_is_noticed(world: World) -> None:
    async def work(lab: Lab) -> None:
        status = endpoint(lab.directory)
        await asyncio.to_thread(world.put, LAB, ready("False", "Starting"))
        asking = asyncio.create_task(ask_both(lab))
        await asyncio.sleep(0.2)
        assert not asking.done()
        await asyncio.to_thread(world.put, LAB, status)
        await asking

    in_lab(world, work)


def test_a_directory_that_cannot_be_reached_is_named(world: World) -> None:
    async def work(lab: Lab) -> None:
        await lab.directory.stop()
        await both_raise(lab, NotReady, "the directory at 127.0.0.1:.* can't be reached", patience=0)

    in_lab(world, work)


def test_a_cluster_made_anew_is_followed(world: World) -> None:
    async def work(lab: Lab) -> None:
        await ask_both(lab)
        await lab.directory.stop()
        await lab.replicas[0].stop()

        def again() -> None:
            world.delete(LAB)
            world.put(LAB)
            world.client_token(LAB, "second")

        await asyncio.to_thread(again)
        other = Replica("other")
        other.token = "second"
        await lab.stack.enter_async_context(other)
        lab.replicas.append(other)
        lab.directory.token = "second"
        lab.directory.address = "127.0.0.1:0"
        lab.directory.replicas.clear()
        await lab.directory.start()
        lab.tell(other)
        await asyncio.to_thread(world.put, LAB, endpoint(lab.directory))
        await ask_both(lab)
        assert len(other.requests) == 2

    in_lab(world, work)


def test_an_unknown_model_is_not_found_with_what_there_is(world: World) -> None:
    async def work(lab: Lab) -> None:
        with pytest.raises(NotFound, match="did you mean 'chat'"):
            await lab.matrix.chat("chta", "hello")
        with pytest.raises(NotFound, match="there is chat"):
            await lab.matrix.chat("gpt", "hello")
        await asyncio.to_thread(world.delete, CHAT)
        with pytest.raises(NotFound, match="nor any other"):
            await lab.matrix.chat("chat", "hello")

    in_lab(world, work)


def test_the_store_is_read_once_for_many_requests(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    async def work(lab: Lab) -> None:
        store = await lab.matrix.context.store()
        list_ = store.list

        async def counted(kind: str, namespace: str | None = None) -> Any:
            looks.append(kind)
            return await list_(kind, namespace)

        monkeypatch.setattr(store, "list", counted)
        await asyncio.gather(*(ask_both(lab) for _ in range(50)))
        await asyncio.sleep(1.1)
        await asyncio.gather(*(ask_both(lab) for _ in range(50)))

    in_lab(world, work)
    assert looks == ["ModelDeployment"]


def test_two_thousand_at_once(world: World) -> None:
    async def work(lab: Lab) -> None:
        for replica in lab.replicas:
            replica.held = asyncio.Event()
        asking = [asyncio.create_task(lab.matrix.chat("chat", "hello")) for _ in range(2000)]
        await until(lambda: sum(replica.open for replica in lab.replicas) == 2000, 90)
        assert all(450 <= replica.most_open <= 550 for replica in lab.replicas), lab.asked
        for replica in lab.replicas:
            assert replica.held is not None
            replica.held.set()
        assert {str(answer) for answer in await asyncio.gather(*asking)} == {"one two three"}
        assert len(_lines(lab)) == 4

    in_lab(world, work, replicas=4)


def test_a_frozen_host_is_a_time_out(world: World) -> None:
    async def work(lab: Lab) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            frozen = Replica("frozen")
            frozen.address = f"127.0.0.1:{silent.getsockname()[1]}"
            lab.tell(frozen)
            with pytest.raises((RequestTimeout, Unreachable)):
                await lab.matrix.chat("chat", "hello", timeout=0.5)
            with pytest.raises((RequestTimeout, Unreachable)):
                await streamed(lab, timeout=0.5, patience=0.5)

    in_lab(world, work, replicas=0)


def test_proxies_of_the_environment_get_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    in_lab(world, ask_both)


def test_distrust_passes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picker, "DISTRUST_SECONDS", 0.3)

    async def work(lab: Lab) -> None:
        bad = lab.replicas[0]
        await bad.stop()
        for _ in range(5):
            await ask_both(lab)
        await bad.start()
        await asyncio.sleep(0.4)
        await asyncio.gather(*(ask_both(lab) for _ in range(20)))
        assert bad.requests

    in_lab(world, work, replicas=2)
