"""The Kubernetes store does what every store must, on a real API server; and what only it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from matrix_store.errors import Forbidden, NotFound, Rejected, Unavailable
from matrix_store.kubernetes import paths
from matrix_store.kubernetes.api import JSON_PATCH, Api
from matrix_store.kubernetes.connection import connect
from matrix_store.kubernetes.faults import AlreadyThere
from matrix_store.kubernetes.store import KubernetesStore
from matrix_store.port import ApplyResult, ChangeType, Event, EventType, Store
from tests.lab.control_plane import ControlPlane
from tests.unit.store.conformance import StoreConformance, watching
from tests.unit.store.support import KIND, OTHER_KIND, Refused, is_synced, key, manifest, plain_validator, run, until

NAMESPACES = ("default", "other")
RESTART_SECONDS = 200.0
FROZEN_SECONDS = 6.0
"""Longer than a connection may take to be made."""


@asynccontextmanager
async def opened(kubeconfig: Path) -> AsyncIterator[KubernetesStore]:
    store = KubernetesStore(Api(connect(kubeconfig=kubeconfig)), validator=plain_validator)
    try:
        yield store
    finally:
        await store.close()


async def clear(api: Api, store: Store) -> None:
    """No object of ours, and no event about one."""
    for namespace in NAMESPACES:
        with suppress(AlreadyThere):
            await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        await api.delete(f"/api/v1/namespaces/{namespace}/events", {})
    for kind in (KIND, OTHER_KIND):
        for stored in await store.list(kind):
            await store.set_finalizers(stored.key, [], resource_version=stored.resource_version)
            with suppress(NotFound):
                await store.delete(stored.key)


class TestKubernetesStore(StoreConformance):
    refusal = Refused

    @pytest.fixture(autouse=True)
    def _place(self, control_plane: ControlPlane) -> None:
        self.kubeconfig = control_plane.kubeconfig

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        return self._empty()

    @asynccontextmanager
    async def _empty(self) -> AsyncIterator[KubernetesStore]:
        api = Api(connect(kubeconfig=self.kubeconfig))
        async with opened(self.kubeconfig) as store:
            await clear(api, store)
            await api.close()
            yield store


def test_a_watch_outlives_the_death_of_the_api_server(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        async with opened(control_plane.kubeconfig) as store, watching(store, KIND) as changes:
            await until(changes, is_synced)
            made, _ = await store.apply(manifest("before", namespace=namespace))
            assert (await anext(changes)).object == made
            control_plane.api_server.kill()
            with pytest.raises(Unavailable, match="can't be reached"):
                await store.get(made.key)
            await asyncio.to_thread(control_plane.api_server.start)
            await asyncio.to_thread(control_plane.ready)
            await store.delete(made.key)
            again, _ = await store.apply(manifest("after", namespace=namespace))
            told = await until(changes, lambda change: change.object == again)
            assert [(change.type, change.key) for change in told if change.type is ChangeType.DELETED] == [(ChangeType.DELETED, made.key)]

    asyncio.run(asyncio.wait_for(body(), RESTART_SECONDS))


def test_a_frozen_api_server_is_waited_for(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        async with opened(control_plane.kubeconfig) as store:
            made, _ = await store.apply(manifest(namespace=namespace))
            control_plane.api_server.stop()
            try:
                asking = asyncio.create_task(store.get(made.key))
                done, _ = await asyncio.wait([asking], timeout=FROZEN_SECONDS)
                assert not done
            finally:
                control_plane.api_server.cont()
            assert await asking == made

    asyncio.run(asyncio.wait_for(body(), RESTART_SECONDS))


def test_the_real_validator_fills_in_what_the_server_would(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        store = KubernetesStore.open(kubeconfig=control_plane.kubeconfig)
        made, _ = await store.apply(manifest(namespace=namespace))
        assert made.resource.to_wire()["spec"] == made.raw["spec"]
        assert await store.apply(manifest(namespace=namespace)) == (made, ApplyResult.UNCHANGED)
        await store.close()

    run(body())


def test_labels_that_others_set_stay(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        http = connect(kubeconfig=control_plane.kubeconfig).http
        async with opened(control_plane.kubeconfig) as store:
            made, _ = await store.apply(manifest(namespace=namespace, labels={"ours": "1"}))
            patch = {"op": "add", "path": "/metadata/labels/kueue.x-k8s.io~1queue-name", "value": "q"}
            params = {"fieldManager": "kubectl-label"}
            answer = await http.patch(paths.of(made.key), params=params, headers={"Content-Type": JSON_PATCH}, json=[patch])
            assert answer.status_code == 200
            after, result = await store.apply(manifest(namespace=namespace, labels={"new": "2"}))
            assert result is ApplyResult.CONFIGURED
            assert after.raw["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "q", "new": "2"}
        await http.aclose()

    run(body())


def test_what_the_server_refuses_is_said_in_one_line(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        async with opened(control_plane.kubeconfig) as store:
            with pytest.raises(Rejected, match=r"spec\.suspend") as caught:
                await store.apply({**manifest(namespace=namespace), "spec": {"suspend": "no"}})
            assert "\n" not in str(caught.value)
            with pytest.raises(NotFound, match="kubectl create namespace nosuch"):
                await store.apply(manifest(namespace="nosuch"))
            assert await store.list(KIND, namespace) == []

    run(body())


def test_without_a_role_nothing_is_seen_and_that_is_said(control_plane: ControlPlane) -> None:
    async def body() -> None:
        async with opened(control_plane.kubeconfig_for("nobody")) as store:
            for call in (store.list(KIND), store.get(key()), store.apply(manifest())):
                with pytest.raises(Forbidden, match='User "nobody" cannot'):
                    await call
            with pytest.raises(Forbidden):
                async with watching(store, KIND) as changes:
                    await anext(changes)

    run(body())


def test_events_can_be_read_as_kubernetes_own(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        at = datetime(2030, 1, 1, tzinfo=UTC)
        api = Api(connect(kubeconfig=control_plane.kubeconfig))
        for _ in range(2):  # the second store does not know what the first has counted
            async with opened(control_plane.kubeconfig) as store:
                made, _ = await store.apply(manifest(namespace=namespace))
                await store.record(Event(made.key, made.uid, EventType.WARNING, "Failed", "x" * 2000, at, at))
        items, _ = await api.list_all(paths.events(namespace))
        assert [(item["reason"], item["count"], len(item["message"])) for item in items] == [("Failed", 2, 1024)]
        assert items[0]["involvedObject"]["uid"] == made.uid
        await api.close()

    run(body())


def test_an_event_in_a_namespace_that_is_going_is_dropped(control_plane: ControlPlane, namespace: str) -> None:
    async def body() -> None:
        api = Api(connect(kubeconfig=control_plane.kubeconfig))
        async with opened(control_plane.kubeconfig) as store:
            made, _ = await store.apply(manifest(namespace=namespace))
            held = await store.set_finalizers(made.key, ["matrix.dev/test"], resource_version=made.resource_version)
            assert held is not None
            await api.delete(f"/api/v1/namespaces/{namespace}", {})
            at = datetime(2030, 1, 1, tzinfo=UTC)
            await store.record(Event(made.key, made.uid, EventType.NORMAL, "Deleting", "going", at, at))
            with pytest.raises(Forbidden, match="being deleted"):
                await store.apply(manifest("new", namespace=namespace))
        await api.close()

    run(body())
