"""The engine with a real store, a backend in memory and a stand-in for Ray: whole lives of objects, without a process being started."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.cluster import AllocationKind
from matrix_crds.constants import API_VERSION, FINALIZER
from matrix_crds.keys import ObjectKey
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.fake import FakeBackend, loopback_address
from matrix_operator.backends.port import BackendRefusal, RemovalState
from matrix_operator.engines import loop
from matrix_operator.engines.loop import Engine
from matrix_operator.metrics import ControllerMetrics
from matrix_operator.reconcile import deployment_summary
from matrix_store.errors import NotFound
from matrix_store.sqlite import SqliteStore
from tests.fakes.ray_server import FakeRay, serve

LAB = ObjectKey("MatrixCluster", "default", "lab")
M = ObjectKey("ModelDeployment", "default", "m")


def cluster(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "MatrixCluster", "metadata": {"name": "lab"}, "spec": spec}


def model(name: str = "m", **spec: Any) -> dict[str, Any]:
    body = {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "resources": {"cpu": 1, "memory": "256Mi"}} | spec
    return {"apiVersion": API_VERSION, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": body}


class World:
    """A running engine and all that it touches."""

    def __init__(self, store: SqliteStore, backend: FakeBackend, ray: FakeRay, metrics: ControllerMetrics, may_act: bool) -> None:
        self.store, self.backend, self.ray, self.metrics = store, backend, ray, metrics
        self.may_act = may_act
        self.engine: Engine

    async def ready(self, key: ObjectKey, status: str, reason: str, seconds: float = 10.0) -> str:
        """Wait until Ready is so; its message."""
        deadline = time.monotonic() + seconds
        while True:
            condition = await self.condition(key)
            if (condition.get("status"), condition.get("reason")) == (status, reason):
                return str(condition.get("message", ""))
            assert time.monotonic() < deadline, f"{key} is {condition}, not {status}/{reason}"
            await asyncio.sleep(0.02)

    async def condition(self, key: ObjectKey, type_: str = "Ready") -> dict[str, Any]:
        conditions = ((await self.store.get(key)).raw.get("status") or {}).get("conditions") or []
        return next((dict(item) for item in conditions if item["type"] == type_), {})

    async def gone(self, key: ObjectKey) -> None:
        deadline = time.monotonic() + 10
        with pytest.raises(NotFound):
            while time.monotonic() < deadline:
                await self.store.get(key)
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(path: Path, ray: FakeRay, may_act: bool = True, *manifests: dict[str, Any]) -> AsyncIterator[World]:
    store = await SqliteStore.open(path / "matrix.db")
    backend = FakeBackend(address_of=loopback_address(ray.url, ray.url))
    choices = {"local": BackendChoice("Local", AllocationKind.LOCAL_PROCESSES, backend)}
    metrics = ControllerMetrics()
    if manifests:
        await store.apply_all(manifests)
    stop = asyncio.Event()
    world = World(store, backend, ray, metrics, may_act)
    world.engine = Engine(store, Backends("standalone", "local", choices), metrics, may_act=lambda: world.may_act)
    task = asyncio.create_task(world.engine.run(stop))
    try:
        yield world
    finally:
        stop.set()
        await task
        await store.close()


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with serve(FakeRay()) as server:
        yield server


def live(path: Path, ray: FakeRay, scenario: Callable[[World], Awaitable[None]], *manifests: dict[str, Any], may_act: bool = True) -> None:
    async def run() -> None:
        async with running(path, ray, may_act, *manifests) as world:
            await scenario(world)

    asyncio.run(run())


def test_a_cluster_and_its_model_become_ready_and_go(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        await world.ready(M, "True", "Ready")
        assert FINALIZER in (await world.store.get(LAB)).finalizers
        assert (await world.store.get(LAB)).raw["status"]["allocation"]["attempt"] == 1
        await world.store.delete(LAB)
        await world.gone(LAB)
        await world.ready(M, "False", "ClusterNotFound")
        assert world.backend.calls[-1] == "remove lab"

    live(tmp_path, ray, scenario, cluster(), model())


def test_the_first_configuration_holds_every_model_that_was_there_before(tmp_path: Path, ray: FakeRay) -> None:
    """A controller that starts must have read all objects before it writes a whole set, or it would remove running models."""

    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        names = {entry["name"] for entry in world.ray.puts[0]["applications"]}
        assert names == {"mx-system"} | {f"mx-md-m{number}" for number in range(40)}

    live(tmp_path, ray, scenario, cluster(), *(model(f"m{number}") for number in range(40)))


def test_models_revive_with_a_new_cluster_of_that_name(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(M, "False", "ClusterNotFound")
        await world.store.apply(cluster())
        await world.ready(M, "True", "Ready")

    live(tmp_path, ray, scenario, model())


def test_a_steady_world_is_not_written_to(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(M, "True", "Ready")
        await asyncio.sleep(1.5)  # the time in which late writes would come
        before = [(await world.store.get(key)).resource_version for key in (LAB, M)]
        puts = len(world.ray.puts)
        await asyncio.sleep(2.0)
        assert [(await world.store.get(key)).resource_version for key in (LAB, M)] == before
        assert len(world.ray.puts) == puts

    live(tmp_path, ray, scenario, cluster(), model())


def test_nothing_is_done_while_the_backend_can_not_be_seen(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(M, "True", "Ready")
        world.backend.blind = "/proc can't be read"
        await world.ready(LAB, "Unknown", "BackendUnreachable")
        await world.ready(M, "Unknown", "StateUnknown")
        calls, puts = len(world.backend.calls), len(world.ray.puts)
        await world.store.apply(model("other"))
        await asyncio.sleep(0.5)
        assert (len(world.backend.calls), len(world.ray.puts)) == (calls, puts)
        world.backend.blind = ""
        await world.ready(M, "True", "Ready")

    live(tmp_path, ray, scenario, cluster(), model())


@pytest.mark.parametrize("broken", [(500, "boom"), (200, "<html>nonsense"), (200, "{}")])
def test_a_dashboard_that_talks_nonsense_is_unknown_and_nothing_is_torn_down(tmp_path: Path, ray: FakeRay, broken: tuple[int, str]) -> None:
    async def scenario(world: World) -> None:
        await world.ready(M, "True", "Ready")
        puts = len(world.ray.puts)
        world.ray.broken = broken
        await world.ready(LAB, "Unknown", "DashboardUnreachable", seconds=20)
        assert len(world.ray.puts) == puts
        assert not any(call.startswith("remove") for call in world.backend.calls)
        world.ray.broken = None
        await world.ready(LAB, "True", "Ready", seconds=20)

    live(tmp_path, ray, scenario, cluster(), model())


def test_what_the_user_must_change_becomes_a_condition_and_heals(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        world.backend.refusal = BackendRefusal(ClusterReason.INSUFFICIENT_RESOURCES, "asks for 64 CPUs; lower spec.head.resources.cpu")
        await world.store.apply(cluster())
        assert "lower" in await world.ready(LAB, "False", "InsufficientResources")
        world.backend.refusal = None
        await world.store.apply(cluster(head={"resources": {"cpu": 1, "memory": "2Gi"}}))
        await world.ready(LAB, "True", "Ready")

    live(tmp_path, ray, scenario)


def test_an_entry_that_serve_refuses_is_told_at_it_alone_and_the_others_serve(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(M, "True", "Ready")
        world.ray.refuse = {"mx-md-bad"}
        await world.store.apply_all([model("bad"), model("good")])
        assert "not what Serve likes" in await world.ready(ObjectKey("ModelDeployment", "default", "bad"), "False", "RejectedByServe")
        await world.ready(ObjectKey("ModelDeployment", "default", "good"), "True", "Ready")
        await world.ready(M, "True", "Ready")

    live(tmp_path, ray, scenario, cluster(), model())


def test_what_serve_gave_up_on_is_started_again_by_a_new_attempt(tmp_path: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment_summary, "FIRST_RETRY", timedelta(seconds=1))
    ray.failing = {"mx-md-m": 1}
    ray.replica_failure = {"reason": "ModelNotFound", "message": "there is no /models/m", "lines": []}

    async def scenario(world: World) -> None:
        assert "there is no /models/m" in await world.ready(M, "False", "ModelNotFound")
        await world.ready(M, "True", "Ready")
        assert world.ray.applications["mx-md-m"]["deployments"][0]["user_config"]["attempt"] == 2

    live(tmp_path, ray, scenario, cluster(), model())


def test_a_bug_is_told_and_the_loop_lives_on(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        world.backend.refusal = RuntimeError("surprise")  # type: ignore[assignment]
        await world.store.apply(cluster())
        assert "surprise" in await world.ready(LAB, "Unknown", "InternalError")
        world.backend.refusal = None
        await world.store.apply(cluster(head={"resources": {"cpu": 1, "memory": "2Gi"}}))
        await world.ready(LAB, "True", "Ready")

    live(tmp_path, ray, scenario)


def test_a_controller_that_may_have_lost_its_lock_does_nothing(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(1.0)
        assert world.backend.calls == []
        assert (await world.store.get(LAB)).finalizers == ()
        (family,) = (family for family in world.metrics.registry.collect() if family.name == "matrix_reconcile")
        assert family.samples == [], "no look is taken that could only end in vain"
        assert world.engine.stalled < 0.5, "it is no sign of being stuck"
        world.may_act = True
        await world.ready(LAB, "True", "Ready")
        assert world.engine.stalled < 0.5

    live(tmp_path, ray, scenario, cluster(), may_act=False)


def test_a_removal_that_is_not_confirmed_keeps_the_object(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        world.backend.removal = RemovalState.UNKNOWN
        await world.store.delete(LAB)
        await world.ready(LAB, "Unknown", "Deleting")
        await asyncio.sleep(0.5)
        assert FINALIZER in (await world.store.get(LAB)).finalizers

    live(tmp_path, ray, scenario, cluster())


def test_a_spec_that_no_longer_parses_keeps_what_runs_of_it(tmp_path: Path, ray: FakeRay) -> None:
    """Such an object was written by another version: here by changing the row behind the store's back."""

    async def scenario(world: World) -> None:
        await world.ready(M, "True", "Ready")
        entry = world.ray.applications["mx-md-m"]
        with sqlite3.connect(tmp_path / "matrix.db") as rows:
            rows.execute("UPDATE revision SET value = value + 1")
            rows.execute(
                "UPDATE objects SET raw = json_set(raw, '$.spec.speed', 9, '$.metadata.resourceVersion', "
                "(SELECT CAST(value AS TEXT) FROM revision)), revision = (SELECT value FROM revision) WHERE name = 'm'"
            )
        assert "speed" in await world.ready(M, "False", "InvalidSpec")
        await world.store.apply(model("other"))
        await world.ready(ObjectKey("ModelDeployment", "default", "other"), "True", "Ready")
        assert world.ray.applications["mx-md-m"] == entry

    live(tmp_path, ray, scenario, cluster(), model())


def test_the_engine_ends_by_itself_when_nothing_is_left(tmp_path: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "IDLE_EXIT_SECONDS", 1.0)

    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "matrix.db")
        engine = Engine(store, Backends("standalone", "local", {}), ControllerMetrics())
        await asyncio.wait_for(engine.run(asyncio.Event()), 10)
        await store.close()

    asyncio.run(run())
