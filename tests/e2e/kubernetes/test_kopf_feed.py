"""What wakes the engine on Kubernetes: kopf's watches on a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from matrix_crds.cluster import AllocationKind
from matrix_crds.constants import FINALIZER
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.fake import FakeBackend
from matrix_operator.backends.port import NodePhase
from matrix_operator.engines.kopf_feed import KopfFeed
from matrix_operator.engines.kopf_login import KopfLogin
from matrix_operator.engines.kopf_thread import KopfThread
from matrix_operator.engines.loop import WORKERS, Engine
from matrix_operator.metrics import ControllerMetrics
from matrix_store.errors import Forbidden, Unavailable
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import connect
from matrix_store.kubernetes.store import KubernetesStore
from matrix_store.port import Change, ChangeType, StoredObject
from tests import waiting
from tests.e2e.kubernetes.kuberay.backend_world import eventually
from tests.lab.control_plane import ControlPlane
from tests.unit.store.conformance import watching
from tests.unit.store.support import KIND, OTHER_KIND, is_synced, key, manifest, until

SECONDS = 240.0
"""An API server takes 3 s to start on an idle machine, and a minute on a busy one."""
UNTIL_NOTICED = 60.0
"""Seconds within which the engine is to hear of something after the API server is back."""
QUIET_SECONDS = 20.0
"""Longer than since the last news, and far shorter than a watch lasts."""


@asynccontextmanager
async def feeding(plane: ControlPlane, namespaces: Sequence[str], user: str = "") -> AsyncIterator[tuple[KubernetesStore, KopfFeed]]:
    kubeconfig = plane.kubeconfig_for(user) if user else plane.kubeconfig
    connection = connect(kubeconfig=kubeconfig)
    store = KubernetesStore(Api(connection), namespaces[0] if namespaces else None)
    try:
        yield store, KopfFeed(store, KopfLogin(connection), tuple(WORKERS), namespaces)
    finally:
        await store.close()


def run(body: Any) -> None:
    asyncio.run(asyncio.wait_for(body, SECONDS))


async def seen(changes: AsyncIterator[Change], stored: StoredObject) -> list[Change]:
    """Up to the news of an object's state, which may come late."""
    return await asyncio.wait_for(until(changes, lambda change: change.object == stored), UNTIL_NOTICED)


def test_all_that_there_is_then_every_change(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        async with feeding(control_plane, [namespace]) as (store, feed):
            first, _ = await store.apply(manifest("a", namespace=namespace))
            async with aclosing(feed.changes()) as changes:  # type: ignore[type-var]
                told = await until(changes, is_synced)
                assert [(change.type, change.object) for change in told] == [(ChangeType.CHANGED, first), (ChangeType.SYNCED, None)]
                second, _ = await store.apply(manifest("m", kind=OTHER_KIND, namespace=namespace))
                assert [change.object for change in await seen(changes, second)] == [second]
                changed = await store.write_status(first.key, {"summary": "up"}, resource_version=first.resource_version)
                assert [change.object for change in await seen(changes, changed)] == [changed]
                await store.delete(first.key)
                assert await anext(changes) == Change(ChangeType.DELETED, first.key, changed)
                assert feed.age < QUIET_SECONDS

    run(body())


def test_what_is_deleted_while_nobody_looks_is_told(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        async with feeding(control_plane, [namespace]) as (store, feed):
            gone, _ = await store.apply(manifest("gone", namespace=namespace))
            stays, _ = await store.apply(manifest("stays", namespace=namespace))
            async with aclosing(feed.changes()) as changes:  # type: ignore[type-var]
                await until(changes, is_synced)
                beat, _ = await store.apply(manifest("beat", namespace=namespace))
                await seen(changes, beat)  # kopf watches
                control_plane.api_server.kill()
                await asyncio.to_thread(control_plane.api_server.start)
                await asyncio.to_thread(control_plane.ready)
                await store.delete(gone.key)
                told = await asyncio.wait_for(until(changes, lambda change: change.type is ChangeType.DELETED), UNTIL_NOTICED)
                assert told == [Change(ChangeType.DELETED, gone.key, gone)]
                changed, _ = await store.apply(manifest("stays", cpu="3", namespace=namespace))
                assert [change.object for change in await seen(changes, changed)] == [changed]
                assert stays.uid == changed.uid

    run(body())


def away_at_first(listing: Callable[[str, str | None], Awaitable[Any]]) -> Callable[[str, str | None], Awaitable[Any]]:
    """An API server that is not there for the first of these calls."""
    faults = [Unavailable("it is away")]

    async def lists(kind: str, namespace: str | None) -> Any:
        if faults:
            raise faults.pop()
        return await listing(kind, namespace)

    return lists


def test_what_others_wrote_is_caught_up_with_though_the_watch_is_silent(
    control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a new leader must know it. It is taken when this returns, also where the server did not answer at first."""
    monkeypatch.setattr(KopfThread, "_run", lambda *_: None)

    async def body() -> None:
        async with feeding(control_plane, [namespace]) as (store, feed):
            first, _ = await store.apply(manifest("a", namespace=namespace))
            gone, _ = await store.apply(manifest("gone", namespace=namespace))
            taken: list[Change] = []

            async def take() -> None:
                async for change in feed.changes():
                    taken.append(change)  # noqa: PERF401

            async with asyncio.TaskGroup() as group:
                taking = group.create_task(take())
                await waiting.until(lambda: any(is_synced(change) for change in taken))
                written = await store.write_status(first.key, {"summary": "up"}, resource_version=first.resource_version)
                await store.delete(gone.key)
                del taken[:]
                await feed.catch_up()
                assert taken == [Change(ChangeType.DELETED, gone.key, gone), Change(ChangeType.CHANGED, first.key, written)]
                late, _ = await store.apply(manifest("late", namespace=namespace))
                monkeypatch.setattr(store, "list_at", away_at_first(store.list_at))
                await asyncio.wait_for(feed.catch_up(), UNTIL_NOTICED)
                assert taken[2:] == [Change(ChangeType.CHANGED, late.key, late)]
                taking.cancel()

    run(body())


def test_some_namespaces_and_no_other(control_plane: ControlPlane, namespace: str) -> None:
    """What is gone from one of them is told, although the list of the other is of another moment."""
    places = [namespace, f"{namespace}-b", f"{namespace}-c"]
    for name in places[1:]:
        control_plane.api.create_namespace(name)

    async def body() -> None:
        admin = KubernetesStore.open(kubeconfig=control_plane.kubeconfig)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(admin.close)
            _, feed = await stack.enter_async_context(feeding(control_plane, places[:2]))
            first, *_ = [(await admin.apply(manifest("a", namespace=place)))[0] for place in places]
            async with aclosing(feed.changes()) as changes:  # type: ignore[type-var]
                told = await until(changes, is_synced)
                assert {change.key.namespace for change in told if change.key} == set(places[:2])
                beats = [(await admin.apply(manifest("beat", namespace=place)))[0] for place in reversed(places)]
                heard = {(await anext(changes)).key, (await anext(changes)).key}
                assert heard == {beat.key for beat in beats[1:]}
                await admin.delete(first.key)
                gone = await asyncio.wait_for(until(changes, lambda change: change.type is ChangeType.DELETED), UNTIL_NOTICED)
                assert gone[-1].key == first.key

    try:
        run(body())
    finally:
        for name in places[1:]:
            control_plane.api.abandon_namespace(name)


def test_without_the_right_to_look_it_ends_at_once(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        async with feeding(control_plane, [namespace], user="nobody") as (_, feed):
            with pytest.raises(Forbidden, match="ask the cluster's administrator"):
                await anext(feed.changes())

    run(body())


def test_an_engine_lives_on_it(control_plane: ControlPlane, namespace: str) -> None:
    """From a manifest to a status and back to nothing; the backend is one in memory."""
    backend = FakeBackend(phase=NodePhase.STARTING)
    backends = Backends("kopf", "kubernetes", {"kubernetes": BackendChoice("Kubernetes", AllocationKind.RAY_CLUSTER, backend)})
    lab = key("lab", namespace=namespace)

    async def body() -> None:
        async with feeding(control_plane, [namespace]) as (store, feed):

            async def told_of() -> bool:
                return {event.key for event in await store.events(lab)} == {lab}

            engine = Engine(store, backends, ControllerMetrics(), changes=feed.changes(), keep_running=True)
            stop = asyncio.Event()
            running = asyncio.create_task(engine.run(stop))
            async with watching(store, KIND) as changes:
                await store.apply(manifest("lab", namespace=namespace))
                told = await until(changes, lambda change: change.object is not None and reason(change.object) == "Starting")
                stored = told[-1].object
                assert stored is not None
                assert stored.finalizers == (FINALIZER,)
                assert stored.raw["status"]["backend"] == "Kubernetes"
                assert backend.calls[-1] == "ensure lab"
                await eventually(told_of)  # an event is recorded a moment after the status that it tells of
                await store.delete(lab)
                await until(changes, lambda change: change.type is ChangeType.DELETED and change.key == lab)
            assert backend.calls[-1] == "remove lab"
            assert backend.running == {}
            stop.set()
            await running

    run(body())


def reason(stored: StoredObject) -> str:
    """Of not being ready."""
    conditions = (stored.raw.get("status") or {}).get("conditions") or ()
    return next((str(item["reason"]) for item in conditions if item["type"] == "Ready"), "")
