"""The watch on a directory: what it knows after each update, and how it comes through the directory's absence. Real gRPC on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from matrix_client import directory_watch
from matrix_client.directory_watch import DirectoryWatch, Replicas
from matrix_proto import directory_pb2 as pb
from matrix_proto.state import Load, ReplicaState
from tests.unit.client.directory import TOKEN, FakeDirectory, replica
from tests.waiting import until

DEADLINE_SECONDS = 20.0


@asynccontextmanager
async def watching(address: str, token: str = TOKEN, changed: Callable[[], None] = lambda: None) -> AsyncIterator[DirectoryWatch]:
    watch = DirectoryWatch(address, lambda: token, changed)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        await watch.close()
        with suppress(asyncio.CancelledError):
            await task


def update(*ids: str, full: bool = False, settled: bool = True, removed: tuple[str, ...] = ()) -> pb.Update:
    return pb.Update(instance="i", full=full, settled=settled, replicas=[replica(id_) for id_ in ids], removed=removed)


UPDATES = [
    ("full replaces", [update("a", "b", full=True), update("b", "c", full=True)], "bc"),
    ("changes add and remove", [update("a", "b", full=True), update("c"), update(removed=("a",))], "bc"),
    ("unsettled keeps", [update("a", full=True), update(full=True, settled=False)], "a"),
    ("unsettled adds", [update("a", full=True), update("b", full=True, settled=False)], "ab"),
    ("unsettled believes a removal", [update("a", "b", full=True), update(full=True, settled=False, removed=("a",))], "b"),
    (
        "what was not told of again is gone once it has settled",
        [update("a", "b", full=True), update(full=True, settled=False), update("b", "c", settled=False), update()],
        "bc",
    ),
    (
        "told of and removed before it settled",
        [update("a", full=True), update("b", full=True, settled=False), update(settled=False, removed=("b",)), update()],
        "",
    ),
]


@pytest.mark.parametrize(("updates", "ids"), [case[1:] for case in UPDATES], ids=[case[0] for case in UPDATES])
def test_what_is_known_after_updates(updates: list[pb.Update], ids: str) -> None:
    replicas = Replicas()

    for one in updates:
        replicas.take(one)

    assert "".join(sorted(replicas.known)) == ids


def test_a_new_stream_forgets_nothing_before_it_has_settled() -> None:
    replicas = Replicas()
    replicas.take(update("a", full=True))

    replicas.begin()

    assert set(replicas.known) == {"a"}
    assert not replicas.settled


def test_only_a_difference_is_told() -> None:
    replicas = Replicas()

    assert [replicas.take(one) for one in (update("a", full=True), update("a"), update(), update(removed=("x",)))] == [
        True,
        False,
        False,
        False,
    ]


def test_a_state_of_a_newer_directory_is_not_ready() -> None:
    replicas = Replicas()
    replicas.take(pb.Update(full=True, settled=True, replicas=[pb.Replica(id="a", state=99)]))  # type: ignore[arg-type]

    assert replicas.known["a"].state is ReplicaState.STARTING


async def _follows() -> None:
    calls: list[int] = []
    async with FakeDirectory() as directory:
        directory.put(replica("a", load=pb.Load(ongoing=3, waiting=1, cache_use=0.5)))
        async with watching(directory.address, changed=lambda: calls.append(1)) as watch:
            await asyncio.wait_for(watch.synced.wait(), DEADLINE_SECONDS)
            assert (watch.connected, watch.last_error) == (True, "")
            (known,) = watch.replicas.values()
            assert (known.state, known.load) == (ReplicaState.READY, Load(ongoing=3, waiting=1, cache_use=0.5))
            directory.put(replica("b", state=pb.Replica.DRAINING))
            await until(lambda: set(watch.replicas) == {"a", "b"})
            assert watch.replicas["b"].state is ReplicaState.DRAINING
            directory.remove("a")
            await until(lambda: set(watch.replicas) == {"b"})
            assert len(calls) == 3


def test_it_follows_the_directory() -> None:
    asyncio.run(_follows())


async def _restart() -> None:
    async with FakeDirectory() as directory:
        directory.put(replica("a"))
        directory.put(replica("b"))
        async with watching(directory.address) as watch:
            await asyncio.wait_for(watch.synced.wait(), DEADLINE_SECONDS)
            await directory.stop()
            await until(lambda: not watch.connected)
            assert set(watch.replicas) == {"a", "b"}
            await until(lambda: "can't be reached" in watch.last_error)
            directory.replicas.clear()
            directory.settled = False
            await directory.start()
            await until(lambda: watch.connected)
            assert set(watch.replicas) == {"a", "b"}
            directory.put(replica("b"))
            directory.settle()
            await until(lambda: set(watch.replicas) == {"b"})


def test_a_directory_that_starts_anew_takes_nothing_away_before_it_has_settled() -> None:
    asyncio.run(_restart())


async def _frozen() -> None:
    async with FakeDirectory() as directory:
        directory.put(replica("a"))
        async with watching(directory.address) as watch:
            await asyncio.wait_for(watch.synced.wait(), DEADLINE_SECONDS)
            directory.frozen = True
            await until(lambda: "has said nothing for" in watch.last_error)
            assert (watch.connected, set(watch.replicas)) == (False, {"a"})
            directory.frozen = False
            await until(lambda: watch.connected)


def test_a_frozen_directory_is_noticed_and_what_it_said_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_watch, "SILENCE_SECONDS", 1.0)
    asyncio.run(_frozen())


async def _refused() -> None:
    tokens = ["wrong"]
    async with FakeDirectory() as directory:
        watch = DirectoryWatch(directory.address, lambda: tokens[0])
        task = asyncio.create_task(watch.run())
        await until(lambda: "refuses the client token" in watch.last_error)
        assert "wrong" not in watch.last_error
        assert not watch.connected
        tokens[0] = TOKEN
        await until(lambda: watch.connected)
        await watch.close()
        assert task.cancelled()


def test_a_wrong_token_is_told_and_a_new_one_is_taken_up() -> None:
    asyncio.run(_refused())


async def _no_token() -> None:
    def token() -> str:
        raise OSError("no such file")

    watch = DirectoryWatch("127.0.0.1:1", token)
    task = asyncio.create_task(watch.run())
    await until(lambda: "no such file" in watch.last_error)
    assert not task.done()
    await watch.close()


def test_a_token_that_cannot_be_read_is_told_and_tried_again() -> None:
    asyncio.run(_no_token())


def test_proxies_of_the_environment_get_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    asyncio.run(_follows())
