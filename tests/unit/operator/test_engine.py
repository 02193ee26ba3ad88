"""The engine with a real store, a backend in memory and a stand-in for Ray: whole lives of objects, without a process being started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from matrix_crds.cluster import MatrixCluster
from matrix_crds.constants import FINALIZER
from matrix_crds.keys import ObjectKey
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.choice import Backends
from matrix_operator.backends.port import BackendRefusal, NodePhase, Observation, RemovalState
from matrix_operator.engines import loop
from matrix_operator.engines.loop import Engine
from matrix_operator.looks import Look
from matrix_operator.metrics import ControllerMetrics
from matrix_operator.reconcile import start_failures
from matrix_store.port import Change
from matrix_store.sqlite import SqliteStore
from tests.fakes.ray_server import FakeRay, serve
from tests.unit.operator.engine_world import LAB, M, World, alter, cluster, live, model
from tests.waiting import until


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with serve(FakeRay()) as server:
        yield server


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

        async def written() -> tuple[object, ...]:
            return *[(await world.store.get(key)).resource_version for key in (LAB, M)], len(world.ray.puts)

        async with asyncio.timeout(20):
            earlier, before = None, await written()
            while earlier != before:
                await asyncio.sleep(1.5)  # the time in which late writes would come
                earlier, before = before, await written()
        await asyncio.sleep(2.0)
        assert await written() == before

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
    monkeypatch.setattr(start_failures, "FIRST_RETRY", timedelta(seconds=3))
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
        await asyncio.sleep(2.0)
        assert world.backend.calls == []
        assert (await world.store.get(LAB)).finalizers == ()
        (family,) = (family for family in world.metrics.registry.collect() if family.name == "matrix_reconcile")
        assert family.samples == [], "no look is taken that could only end in vain"
        assert world.engine.stalled < 1.5, "it is no sign of being stuck"
        world.may_act = True
        await world.ready(LAB, "True", "Ready")
        assert world.engine.stalled < 1.5

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
        alter(tmp_path, M, "$.spec.speed", 9)
        assert "speed" in await world.ready(M, "False", "InvalidSpec")
        await world.store.apply(model("other"))
        await world.ready(ObjectKey("ModelDeployment", "default", "other"), "True", "Ready")
        assert world.ray.applications["mx-md-m"] == entry

    live(tmp_path, ray, scenario, cluster(), model())


async def let_go_during_a_look(world: World) -> None:
    """Somebody takes the finalizer off and deletes the cluster while it is looked at."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    observe = world.backend.observe

    async def slow(cluster: MatrixCluster) -> Look[Observation]:
        begun.set()
        look = await observe(cluster)
        await go_on.wait()
        return look

    world.backend.observe = slow  # type: ignore[method-assign]
    world.engine.look_again()
    await begun.wait()
    held = await world.store.get(LAB)
    await world.store.set_finalizers(LAB, [], resource_version=held.resource_version)
    await world.store.delete(LAB)
    await until(lambda: world.engine._cache.get(LAB) is None)
    go_on.set()


def test_a_cluster_that_was_let_go_by_hand_during_a_look_is_told_to_its_models_at_once(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(M, "True", "Ready")
        await let_go_during_a_look(world)
        await world.ready(M, "False", "ClusterNotFound")
        assert world.engine.controller.views.seen == {}

    live(tmp_path, ray, scenario, cluster(), model())


def test_a_cluster_that_went_during_a_look_does_not_slow_the_others_down_for_ever(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        world.backend.phase = NodePhase.STARTING
        await world.store.apply(cluster())
        await world.ready(LAB, "False", "Starting")
        await until(lambda: world.engine._eager == {LAB})
        await let_go_during_a_look(world)
        await until(lambda: world.engine.controller.views.seen == {} and all(queue.idle for queue in world.engine._queues.values()))
        assert world.engine._eager == set()

    live(tmp_path, ray, scenario)


def test_a_watch_that_is_late_does_not_make_a_new_cluster_anew_once_more(tmp_path: Path, ray: FakeRay) -> None:
    async def late(store: SqliteStore) -> AsyncIterator[Change]:
        heard: asyncio.Queue[Change] = asyncio.Queue()

        async def hear() -> None:
            async for change in store.watch("MatrixCluster", "ModelDeployment"):
                asyncio.get_running_loop().call_later(0.6, heard.put_nowait, change)

        hearing = asyncio.create_task(hear())
        try:
            while True:
                yield await heard.get()
        finally:
            hearing.cancel()

    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        await world.store.apply(cluster(upgradePolicy={"type": "Recreate"}, head={"resources": {"cpu": 1, "memory": "3Gi"}}))
        await world.until(LAB, lambda status: status["allocation"]["attempt"] == 2, "made anew")
        await world.ready(LAB, "True", "Ready")
        await asyncio.sleep(1.5)  # the time in which all that was late has come
        assert world.backend.calls.count("remove lab") == 1
        assert (await world.status(LAB))["allocation"]["attempt"] == 2

    live(tmp_path, ray, scenario, cluster(upgradePolicy={"type": "Recreate"}), watch=late)


def test_conflicts_with_what_the_watch_does_not_tell_are_not_met_again_and_again(tmp_path: Path, ray: FakeRay) -> None:
    silent = asyncio.Event()

    async def until_silent(store: SqliteStore) -> AsyncIterator[Change]:
        async for change in store.watch("MatrixCluster", "ModelDeployment"):
            if silent.is_set():
                await asyncio.Event().wait()
            yield change

    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        await asyncio.sleep(0.5)  # the last write is heard of
        silent.set()
        await world.store.apply(cluster() | {"metadata": {"name": "lab", "labels": {"a": "b"}}})
        world.backend.blind = "away"
        world.engine.look_again()
        await asyncio.sleep(2.0)

        def conflicts() -> float:
            labels = {"kind": "MatrixCluster", "result": "conflict"}
            return world.metrics.registry.get_sample_value("matrix_reconcile_total", labels) or 0

        await until(lambda: conflicts() >= 3)
        assert conflicts() <= 12, "each 20 ms it would be a hundred"

    live(tmp_path, ray, scenario, cluster(), watch=until_silent)


def test_a_bug_of_the_controller_itself_ends_no_worker(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        reconcile, raised = world.engine.controller.reconcile, asyncio.Event()

        async def surprised(key: ObjectKey) -> float | None:
            if key == M and not raised.is_set():
                raised.set()
                raise RuntimeError("surprise")
            return await reconcile(key)

        world.engine.controller.reconcile = surprised  # type: ignore[method-assign]
        await world.store.apply(model())
        await world.ready(M, "True", "Ready")
        assert raised.is_set()
        assert world.metrics.registry.get_sample_value("matrix_reconcile_errors_total", {"kind": "ModelDeployment", "fate": "bug"}) == 1

    live(tmp_path, ray, scenario, cluster())


def test_the_engine_ends_by_itself_when_nothing_is_left(tmp_path: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "IDLE_EXIT_SECONDS", 1.0)

    async def run() -> None:
        store = await SqliteStore.open(tmp_path / "matrix.db")
        engine = Engine(store, Backends("standalone", "local", {}), ControllerMetrics())
        await asyncio.wait_for(engine.run(asyncio.Event()), 10)
        await store.close()

    asyncio.run(run())
