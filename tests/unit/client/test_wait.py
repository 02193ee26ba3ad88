"""Waiting ends when it is time: done, hopeless, too late, gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from matrix_client.errors import ControllerFailed, NeedsUser, ObjectGone, UsageError, WaitTimeout
from matrix_client.goals import ConditionIs, Deleted, Goal
from matrix_client.mirror import mirroring
from matrix_client.wait import SETTLE_SECONDS, Progress, wait_for
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import StoredObject
from matrix_store.sqlite import SqliteStore
from tests.unit.client.worlds import CHAT, LAB, World, new_world, ready

READY = ConditionIs()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return new_world(tmp_path)


def wait(
    world: World,
    goals: dict[ObjectKey, Goal],
    *,
    meanwhile: Callable[[], None] | None = None,
    seconds: float = 20,
    settle: float = SETTLE_SECONDS,
    heard: list[Progress] | None = None,
    keep_running: Callable[[], Awaitable[None]] | None = None,
) -> dict[ObjectKey, StoredObject | None]:
    """Wait, and once the first progress was heard do something."""
    heard = [] if heard is None else heard
    begun = asyncio.Event()

    def on_progress(progress: Progress) -> None:
        heard.append(progress)
        begun.set()

    async def act() -> None:
        await begun.wait()
        if meanwhile is not None:
            await asyncio.to_thread(meanwhile)

    async def both() -> dict[ObjectKey, StoredObject | None]:
        store = await SqliteStore.open(world.home.database)
        acting = asyncio.create_task(act())
        try:
            return await wait_for(store, goals, timeout=seconds, on_progress=on_progress, keep_running=keep_running, settle=settle)
        finally:
            await acting
            await store.close()

    return asyncio.run(both())


def test_what_is_there_already_is_returned_at_once(world: World) -> None:
    world.put(LAB, ready())

    found = wait(world, {LAB: READY})[LAB]

    assert found is not None and found.key == LAB


def test_the_progress_is_told_once_per_change_until_it_is_done(world: World) -> None:
    world.put(LAB, ready("False", "Starting", "the head"))
    heard: list[Progress] = []

    wait(world, {LAB: READY}, meanwhile=lambda: world.put(LAB, ready()) and None, heard=heard)

    assert [(progress.reason, progress.message, progress.done) for progress in heard] == [
        ("Starting", "the head", False),
        ("Ready", "all is well", True),
    ]


def test_since_begins_anew_with_another_reason(world: World) -> None:
    world.put(CHAT, ready("False", "Downloading", "1 %"))
    heard: list[Progress] = []

    def load() -> None:
        world.put(CHAT, ready("False", "Loading", "weights"))

    with pytest.raises(WaitTimeout):
        wait(world, {CHAT: READY}, meanwhile=load, seconds=4, heard=heard)

    first, second = heard
    assert first.since is not None and second.since is not None
    assert (second.since - first.since).total_seconds() > 80  # the condition's own time has not moved


def test_it_gives_up_early_when_only_the_user_can_help_and_shows_it_first(world: World) -> None:
    world.put(LAB, ready("False", "InsufficientResources", "64 CPUs asked for; set 2"))
    heard: list[Progress] = []

    with pytest.raises(NeedsUser, match=r"MatrixCluster/lab is not ready \(InsufficientResources\): 64 CPUs asked for; set 2") as caught:
        wait(world, {LAB: READY}, settle=0.2, heard=heard)

    assert caught.value.reason == "InsufficientResources"
    assert [progress.reason for progress in heard] == ["InsufficientResources"]


def test_a_reason_left_from_before_does_not_end_the_waiting(world: World) -> None:
    world.put(CHAT, ready("False", "ClusterNotFound", "no cluster"))

    found = wait(world, {CHAT: READY}, meanwhile=lambda: world.put(CHAT, ready()) and None)

    assert found[CHAT] is not None


def test_the_time_out_says_what_was_waited_for(world: World) -> None:
    world.put(LAB, ready("False", "Starting", "the head"))

    with pytest.raises(WaitTimeout, match=r"still not Ready after 2.5 s \(Starting: the head\); it goes on, see `matrix why"):
        wait(world, {LAB: READY}, seconds=2.5)


def test_an_unknown_object_is_not_waited_for(world: World) -> None:
    async def look() -> None:
        store = await SqliteStore.open(world.home.database)
        try:
            await wait_for(store, {LAB: READY}, timeout=5)
        finally:
            await store.close()

    with pytest.raises(NotFound, match="MatrixCluster/lab does not exist"):
        asyncio.run(look())


def test_an_object_that_is_deleted_meanwhile_ends_the_waiting(world: World) -> None:
    world.put(LAB, ready("False", "Starting", "the head"))

    with pytest.raises(ObjectGone):
        wait(world, {LAB: READY}, meanwhile=lambda: world.delete(LAB))


def test_deletion_is_done_when_the_object_is_gone(world: World) -> None:
    world.put(LAB, ready())
    world.keep(LAB)
    world.delete(LAB)
    heard: list[Progress] = []

    assert wait(world, {LAB: Deleted()}, meanwhile=lambda: world.let_go(LAB), heard=heard) == {LAB: None}
    assert [progress.reason for progress in heard] == ["Deleting", ""]


def test_another_object_of_the_same_name_is_not_the_one_that_was_deleted(world: World) -> None:
    world.put(LAB, ready("False", "Starting", "the head"))

    def replace() -> None:
        world.delete(LAB)
        world.put(LAB)

    wait(world, {LAB: Deleted()}, meanwhile=replace)
    assert world.find(LAB) is not None


def test_all_objects_are_waited_for(world: World) -> None:
    world.put(LAB, ready())
    world.put(CHAT, ready("False", "Loading", "weights"))
    heard: list[Progress] = []

    wait(world, {LAB: READY, CHAT: READY}, meanwhile=lambda: world.put(CHAT, ready()) and None, heard=heard)

    assert [progress.key for progress in heard if progress.done] == [LAB, CHAT]


def test_nobody_at_work_ends_the_waiting(world: World) -> None:
    world.put(LAB, ready("False", "Starting", "the head"))

    async def nobody() -> None:
        raise ControllerFailed("it does not start")

    with pytest.raises(ControllerFailed):
        wait(world, {LAB: READY}, keep_running=nobody)


def test_a_look_for_who_is_at_work_that_hangs_does_not_hold_up_the_time_out(world: World) -> None:
    world.put(LAB, ready("False", "Starting", "the head"))
    begun = time.monotonic()

    with pytest.raises(WaitTimeout, match=r"is still not Ready after 0.3 s"):
        wait(world, {LAB: READY}, seconds=0.3, keep_running=lambda: asyncio.sleep(8))
    assert time.monotonic() - begun < 6


def test_more_namespaces_than_can_be_watched_at_once_are_refused(world: World) -> None:
    goals: dict[ObjectKey, Goal] = {CHAT._replace(namespace=f"n{number}"): READY for number in range(101)}

    async def look() -> None:
        store = await SqliteStore.open(world.home.database)
        try:
            await wait_for(store, goals)
        finally:
            await store.close()

    with pytest.raises(UsageError, match="101 namespaces can't be watched at once, only 100"):
        asyncio.run(look())


def test_waiting_for_nothing_is_over_at_once_and_looks_at_nothing(world: World) -> None:
    world.put(LAB, ready())

    async def look() -> tuple[int, dict[ObjectKey, StoredObject | None]]:
        store = await SqliteStore.open(world.home.database)
        try:
            async with mirroring(store, ["MatrixCluster"], ()) as mirror:
                return len(mirror.objects), await wait_for(store, {})
        finally:
            await store.close()

    assert asyncio.run(look()) == (0, {})


@pytest.mark.parametrize(("namespaces", "seen"), [(None, "abc"), (["a"], "a"), (["a", "b"], "ab")])
def test_a_mirror_shows_the_namespaces_that_it_was_asked_for(world: World, namespaces: list[str] | None, seen: str) -> None:
    for namespace in "abc":
        world.put(LAB._replace(namespace=namespace), ready())

    async def look() -> str:
        store = await SqliteStore.open(world.home.database)
        try:
            async with mirroring(store, ["MatrixCluster"], namespaces) as mirror:
                return "".join(sorted(key.namespace for key in mirror.objects))
        finally:
            await store.close()

    assert asyncio.run(look()) == seen
