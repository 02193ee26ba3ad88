"""The pulse: what wakes a cluster between two looks, and that one which can't be felt takes nothing from the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace

import pytest

from matrix_crds.cluster import AllocationKind, MatrixCluster
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.fake import FakeBackend
from matrix_operator.engines import pulse
from matrix_operator.engines.pulse import Pulse
from matrix_operator.errors import ForeignFault
from matrix_operator.http import Answer
from matrix_operator.looks import Unknown
from matrix_operator.reconcile.view import ClusterView
from matrix_proto.state import State
from tests.unit.operator.builders import ray, view
from tests.waiting import until

A, B = (ObjectKey("MatrixCluster", "default", name) for name in ("a", "b"))
STATE = State(runtime_version="1", ray_version="2", instance="i", revision=1)


@dataclass
class Backend(FakeBackend):
    """`felt` by the cluster's name; a fault is raised."""

    felt: dict[str, Hashable] = field(default_factory=dict)

    async def pulse(self, cluster: MatrixCluster) -> Hashable:
        felt = self.felt.get(cluster.metadata.name)
        if isinstance(felt, Exception):
            raise felt
        return felt


@dataclass
class Ray:
    """An Http: dashboards that answer, hang or fail, and directories that have nothing new."""

    dashboards: str = "answer"
    broken: set[str] = field(default_factory=set)
    """Tokens of directories with which asking is a bug."""
    asked: list[str] = field(default_factory=list)
    listened: list[str] = field(default_factory=list)

    async def request(self, method: str, url: str, *, token: str, seconds: float, body: object | None = None) -> Answer:
        if url.endswith("/api/version"):
            self.asked.append(token)
            if self.dashboards == "hang":
                await asyncio.sleep(3600)
            if self.dashboards == "fail":
                raise ForeignFault("nobody answers")
            return Answer(200, json.dumps({"ray_version": "2", "session_name": "s"}))
        self.listened.append(token)
        if token in self.broken:
            raise RuntimeError("a bug")
        if "wait=" in url:
            await asyncio.sleep(3600)
        return Answer(200, STATE.model_dump_json(by_alias=True))

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class World:
    views: dict[ObjectKey, ClusterView]
    backend: Backend
    ray: Ray
    woken: list[ObjectKey] = field(default_factory=list)


def seen(key: ObjectKey) -> ClusterView:
    found = view(ray=ray({}))
    assert found.address is not None
    metadata = found.cluster.metadata.model_copy(update={"name": key.name, "uid": key.name})
    address = replace(found.address, ray_token=key.name, client_token=key.name)
    return replace(found, cluster=found.cluster.model_copy(update={"metadata": metadata}), address=address)


def beating(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def body() -> None:
        world = World({A: seen(A), B: seen(B)}, Backend(felt={"a": 1, "b": 1}), Ray())
        choices = {"local": BackendChoice("Local", AllocationKind.LOCAL_PROCESSES, world.backend)}
        task = asyncio.create_task(Pulse(world.views, Backends("t", "local", choices), world.ray, world.woken.append).run())
        try:
            await until(lambda: {"a", "b"} <= set(world.ray.listened) and len(world.ray.listened) >= 4)
            world.woken.clear()  # of the first states
            await scenario(world)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1, "nothing is left running"

    asyncio.run(body())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "BACKEND_SECONDS", 0.01)
    monkeypatch.setattr(pulse, "AFTER_SILENCE_SECONDS", 0.01)
    monkeypatch.setattr(pulse, "DASHBOARD_SECONDS", 0.02)
    monkeypatch.setattr(pulse, "DASHBOARDS_PER_SECOND", 1000.0)


def test_a_backend_that_feels_otherwise_wakes_its_cluster_alone() -> None:
    async def scenario(world: World) -> None:
        world.backend.felt["b"] = 2
        await until(lambda: bool(world.woken))
        await asyncio.sleep(0.05)
        assert world.woken == [B], "once, until it feels otherwise again"

    beating(scenario)


def test_a_first_pulse_after_a_look_that_saw_nothing_wakes() -> None:
    async def scenario(world: World) -> None:
        key = ObjectKey("MatrixCluster", "default", "late")
        world.views[key] = replace(seen(key), backend=Unknown("not told yet"))
        await until(lambda: key in world.woken)

    beating(scenario)


def test_a_backend_in_which_feeling_is_a_bug_hides_no_other() -> None:
    async def scenario(world: World) -> None:
        world.backend.felt["a"] = RuntimeError("a bug")
        world.backend.felt["b"] = 2
        await until(lambda: B in world.woken)
        world.backend.felt["a"] = 2
        await until(lambda: A in world.woken)

    beating(scenario)


def test_a_dashboard_that_no_longer_answers_wakes_and_one_that_hangs_holds_up_no_other() -> None:
    async def scenario(world: World) -> None:
        world.ray.dashboards = "hang"
        world.ray.asked.clear()
        await until(lambda: set(world.ray.asked) == {"a", "b"})
        await asyncio.sleep(0.1)
        assert sorted(world.ray.asked) == ["a", "b"], "one that has not answered is not asked again"

    beating(scenario)

    async def failing(world: World) -> None:
        world.ray.dashboards = "fail"
        await until(lambda: {A, B} <= set(world.woken))

    beating(failing)


def test_listening_that_ends_by_a_bug_is_begun_again() -> None:
    async def scenario(world: World) -> None:
        late = ObjectKey("MatrixCluster", "default", "late")
        world.ray.broken.add("late")
        world.backend.felt["late"] = 1
        world.views[late] = seen(late)
        await until(lambda: world.ray.listened.count("late") > 2)
        world.ray.broken.clear()
        await until(lambda: late in world.woken)

    beating(scenario)


def test_a_cluster_that_is_forgotten_is_left_alone() -> None:
    async def scenario(world: World) -> None:
        del world.views[B]
        await asyncio.sleep(0.05)
        world.ray.asked.clear()
        world.backend.felt["b"] = 2
        await until(lambda: len(world.ray.asked) > 2)
        assert set(world.ray.asked) == {"a"} and world.woken == []

    beating(scenario)
