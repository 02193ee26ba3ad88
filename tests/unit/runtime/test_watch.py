"""The directory's watch stream: what each watcher is told, and the server in front of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_client.directory_watch import DirectoryWatch
from matrix_proto import directory_pb2 as pb
from matrix_proto.directory_pb2_grpc import DirectoryStub
from matrix_proto.errors import REASON_KEY, RETRYABLE_KEY
from matrix_proto.state import Load, ReplicaState
from matrix_runtime.system.bell import Bell
from matrix_runtime.system.directory import Directory
from matrix_runtime.system.watch_server import SETTLE_SECONDS, WatchServer
from matrix_runtime.system.watchers import QUEUED_UPDATES, Watcher, Watchers
from tests.unit.runtime.test_directory import Clock, failed, pass_time, replica
from tests.waiting import until

CLIENT = (("authorization", "Bearer client"),)


def watchers(directory: Directory) -> Watchers:
    return Watchers("i", directory.known, lambda: directory.revision)


def next_of(watcher: Watcher) -> pb.Update:
    """What is there for it; fails when there is nothing."""

    async def take() -> bytes:
        return await asyncio.wait_for(watcher.next(), 0.5)

    return pb.Update.FromString(asyncio.run(take()))


def ids(update: pb.Update) -> list[str]:
    return sorted(replica.id for replica in update.replicas)


def test_a_watcher_is_told_all_at_once_and_then_what_changes() -> None:
    directory = Directory(Clock())
    directory.report(replica("a"))
    directory.report(replica("b"))
    everyone = watchers(directory)
    everyone.publish()
    watcher = everyone.join()
    first = next_of(watcher)
    assert (first.full, first.settled, first.instance, first.revision, ids(first)) == (True, False, "i", directory.revision, ["a", "b"])
    directory.report(replica("b", ReplicaState.DRAINING))
    everyone.publish()
    change = next_of(watcher)
    assert (change.full, ids(change), change.replicas[0].state) == (False, ["b"], pb.Replica.DRAINING)
    everyone.publish()
    assert ids(next_of(watcher)) == []
    with pytest.raises(TimeoutError):
        next_of(watcher)


def test_a_load_that_changed_is_told_with_the_next_update() -> None:
    directory = Directory(Clock())
    directory.report(replica("a", grpc_address="h:1", http_url="http://h:2"))
    everyone = watchers(directory)
    everyone.publish()
    watcher = everyone.join()
    next_of(watcher)
    directory.report(replica("a", grpc_address="h:1", http_url="http://h:2", load=Load(ongoing=7, waiting=2, cache_use=0.5)))
    everyone.publish()
    [told] = next_of(watcher).replicas
    assert told.load == pb.Load(ongoing=7, waiting=2, cache_use=0.5)
    assert (told.grpc_address, told.http_url, told.model, told.application) == ("h:1", "http://h:2", "m", "mx-md-m")


def test_a_suspect_and_a_forgotten_replica_are_told() -> None:
    clock = Clock()
    directory = Directory(clock)
    directory.report(replica("a"))
    everyone = watchers(directory)
    everyone.publish()
    watcher = everyone.join()
    next_of(watcher)
    pass_time(directory, clock, 4)
    everyone.publish()
    assert next_of(watcher).replicas[0].suspect
    pass_time(directory, clock, 30)
    everyone.publish()
    assert list(next_of(watcher).removed) == ["a"]


def test_when_it_has_settled_everyone_is_told_all_once_more() -> None:
    directory = Directory(Clock())
    everyone = watchers(directory)
    watcher = everyone.join()
    assert not next_of(watcher).settled
    directory.report(replica("a"))
    everyone.settle()
    told = next_of(watcher)
    assert (told.full, told.settled, ids(told)) == (True, True, ["a"])
    assert next_of(everyone.join()).settled


def test_a_slow_watcher_gets_a_full_update_instead_of_an_ever_longer_queue() -> None:
    directory = Directory(Clock())
    everyone = watchers(directory)
    watcher = everyone.join()
    next_of(watcher)
    for number in range(QUEUED_UPDATES + 1):
        directory.report(replica(f"r{number}"))
        everyone.publish()
    told = next_of(watcher)
    assert told.full and len(told.replicas) == QUEUED_UPDATES + 1
    with pytest.raises(TimeoutError):
        next_of(watcher)
    directory.report(replica("later"))
    everyone.publish()
    assert ids(next_of(watcher)) == ["later"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.sampled_from("abc"), st.sampled_from(list(ReplicaState))),
        st.tuples(st.just("silence"), st.floats(0, 40), st.none()),
        st.tuples(st.just("publish"), st.none(), st.none()),
        st.tuples(st.just("read"), st.none(), st.none()),
    ),
    max_size=60,
)


@given(steps)
def test_who_applies_what_is_told_knows_what_the_directory_knows(script: list[tuple[str, Any, Any]]) -> None:
    clock = Clock()
    directory = Directory(clock)
    everyone = watchers(directory)
    watcher = everyone.join()
    known: dict[str, pb.Replica] = {}

    def read() -> None:
        update = pb.Update.FromString(asyncio.run(asyncio.wait_for(watcher.next(), 1)))
        if update.full:
            known.clear()
        known.update({told.id: told for told in update.replicas})
        for id_ in update.removed:
            known.pop(id_, None)

    for step, what, state in script:
        if step == "report":
            directory.report(failed(what) if state is ReplicaState.FAILED else replica(what, state))
        elif step == "silence":
            pass_time(directory, clock, what)
        elif step == "publish":
            everyone.publish()
        elif watcher._starts_over or watcher._queue:
            read()
    everyone.publish()
    while watcher._starts_over or watcher._queue:
        read()
    assert set(known) == {told.id for told, _ in directory.known()}
    assert {told.id for told in known.values() if told.suspect} == {told.id for told, suspect in directory.known() if suspect}


class Served:
    """A real server on loopback."""

    def __init__(self, directory: Directory, everyone: Watchers, server: WatchServer, port: int, changed: Callable[[], None]) -> None:
        self.directory, self.everyone, self.server, self.changed = directory, everyone, server, changed
        self.address = f"127.0.0.1:{port}"


@asynccontextmanager
async def serving(secrets: Path, port: int = 0, instance: str = "i") -> AsyncIterator[Served]:
    (secrets / "ray-token").write_text("ray\n")
    (secrets / "client-token").write_text("client")
    directory, bell = Directory(), Bell()
    everyone = Watchers(instance, directory.known, lambda: directory.revision)
    server = WatchServer(everyone, bell)
    taken = await server.start("127.0.0.1", port, secrets, 10)
    publishing = asyncio.create_task(server.publish_forever())
    try:
        yield Served(directory, everyone, server, taken, bell.ring)
    finally:
        publishing.cancel()
        await server.stop()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_an_update_comes_at_once_with_each_change_and_each_second(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as served, grpc.aio.insecure_channel(served.address) as channel:
            call = DirectoryStub(channel).Watch(pb.WatchRequest(), metadata=CLIENT)  # type: ignore[no-untyped-call]
            assert (await call.read()).full
            served.directory.report(replica("a"))
            served.changed()
            while not (update := await call.read()).replicas:
                pass
            assert ids(update) == ["a"]
            started = time.monotonic()
            while not (update := await call.read()).settled:
                pass
            assert update.full and time.monotonic() - started < SETTLE_SECONDS + 5
            assert not (await call.read()).full

    run(test)


@pytest.mark.parametrize("presented", [None, "", "Bearer wrong", "Bearer ", "client", "Basic client"])
@pytest.mark.parametrize("method", ["/matrix.directory.v1.Directory/Watch", "/matrix.directory.v1.Directory/Nothing", "/x.y/Z"])
def test_nothing_is_answered_without_a_token(tmp_path: Path, method: str, presented: str | None) -> None:
    async def test() -> None:
        async with serving(tmp_path) as served, grpc.aio.insecure_channel(served.address) as channel:
            metadata = () if presented is None else (("authorization", presented),)
            call = channel.unary_unary(method)(b"x" * 1000, metadata=metadata, timeout=20)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            trailers = dict(refused.value.trailing_metadata())
            assert (trailers[REASON_KEY], trailers[RETRYABLE_KEY]) == ("Unauthenticated", "0")

    run(test)


def test_either_token_opens_it_and_a_rotated_one_counts_at_once(tmp_path: Path) -> None:
    async def first(channel: grpc.aio.Channel, token: str) -> pb.Update:
        metadata = (("authorization", f"Bearer {token}"),)
        update: pb.Update = (
            await DirectoryStub(channel)
            .Watch(  # type: ignore[no-untyped-call]
                pb.WatchRequest(), metadata=metadata, timeout=20
            )
            .read()
        )
        return update

    async def test() -> None:
        async with serving(tmp_path) as served, grpc.aio.insecure_channel(served.address) as channel:
            assert (await first(channel, "client")).full and (await first(channel, "ray")).full
            (tmp_path / "client-token").write_text("another")
            assert (await first(channel, "another")).full
            with pytest.raises(grpc.aio.AioRpcError):
                await first(channel, "client")
            (tmp_path / "client-token").unlink()
            with pytest.raises(grpc.aio.AioRpcError):
                await first(channel, "")

    run(test)


def test_a_watch_goes_on_knowing_while_the_directory_is_away_and_until_it_has_settled(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as served:
            port = int(served.address.rpartition(":")[2])
            served.directory.report(replica("stays"))
            served.directory.report(replica("goes"))
            watch = DirectoryWatch(served.address, lambda: "client")
            watching = asyncio.create_task(watch.run())
            await asyncio.wait_for(watch.synced.wait(), 20)
            assert set(watch.replicas) == {"stays", "goes"}
        await until(lambda: not watch.connected)
        assert set(watch.replicas) == {"stays", "goes"}
        async with serving(tmp_path, port, "another") as served:
            await until(lambda: watch.connected)
            assert set(watch.replicas) == {"stays", "goes"}
            served.directory.report(replica("stays"))
            await until(lambda: set(watch.replicas) == {"stays"})
        watching.cancel()

    run(test)


def test_a_watcher_that_goes_is_forgotten(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as served:
            async with grpc.aio.insecure_channel(served.address) as channel:
                call = DirectoryStub(channel).Watch(pb.WatchRequest(), metadata=CLIENT)  # type: ignore[no-untyped-call]
                await call.read()
                assert len(served.everyone._watchers) == 1
            await until(lambda: not served.everyone._watchers)

    run(test)


def test_a_port_that_is_taken_is_an_error_in_words(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as served:
            port = int(served.address.rpartition(":")[2])
            with pytest.raises(OSError, match=f"can't listen at 127.0.0.1:{port}"):
                await WatchServer(served.everyone, served.server._changed).start("127.0.0.1", port, tmp_path, 0.2)

    run(test)
