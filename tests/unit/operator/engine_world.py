"""A running engine with a real store, backends in memory and a stand-in for Ray, and how a test looks at it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.cluster import AllocationKind
from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.fake import FakeBackend, loopback_address
from matrix_operator.engines.loop import Engine
from matrix_operator.metrics import ControllerMetrics
from matrix_store.errors import NotFound
from matrix_store.port import Change
from matrix_store.sqlite import SqliteStore
from tests.fakes.ray_server import FakeRay

FILE = "matrix.db"
LAB = ObjectKey("MatrixCluster", "default", "lab")
M = ObjectKey("ModelDeployment", "default", "m")


def cluster(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "MatrixCluster", "metadata": {"name": "lab"}, "spec": spec}


def model(name: str = "m", **spec: Any) -> dict[str, Any]:
    body = {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "resources": {"cpu": 1, "memory": "256Mi"}} | spec
    return {"apiVersion": API_VERSION, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": body}


class World:
    """A running engine and all that it touches."""

    def __init__(self, store: SqliteStore, backend: FakeBackend, slurm: FakeBackend, ray: FakeRay, may_act: bool) -> None:
        self.store, self.backend, self.slurm, self.ray = store, backend, slurm, ray
        self.metrics = ControllerMetrics()
        self.may_act = may_act
        self.engine: Engine

    async def ready(self, key: ObjectKey, status: str, reason: str, saying: str = "", seconds: float = 20.0) -> str:
        """Wait until Ready is so; its message."""

        def holds(found: dict[str, Any]) -> bool:
            ready = _condition(found, "Ready")
            return (ready.get("status"), ready.get("reason")) == (status, reason) and saying in ready.get("message", "")

        return str(_condition(await self.until(key, holds, f"{status}/{reason} {saying}", seconds), "Ready").get("message", ""))

    async def until(self, key: ObjectKey, holds: Callable[[dict[str, Any]], bool], what: str, seconds: float = 20.0) -> dict[str, Any]:
        """Wait until its status is so; that status."""
        deadline = time.monotonic() + seconds
        while not holds(status := await self.status(key)):
            assert time.monotonic() < deadline, f"{key} is not {what}, but {status}"
            await asyncio.sleep(0.02)
        return status

    async def status(self, key: ObjectKey) -> dict[str, Any]:
        return dict((await self.store.get(key)).raw.get("status") or {})

    async def condition(self, key: ObjectKey, type_: str = "Ready") -> dict[str, Any]:
        return _condition(await self.status(key), type_)

    async def gone(self, key: ObjectKey) -> None:
        deadline = time.monotonic() + 20
        with pytest.raises(NotFound):
            while time.monotonic() < deadline:
                await self.store.get(key)
                await asyncio.sleep(0.02)


def _condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next((dict(item) for item in status.get("conditions") or [] if item["type"] == type_), {})


def alter(path: Path, key: ObjectKey, field: str, value: object) -> None:
    """Change what is stored in that directory, such as $.spec.speed, behind the store's back: as if another version had written it."""
    with sqlite3.connect(path / FILE) as rows:
        rows.execute("UPDATE revision SET value = value + 1")
        rows.execute(
            "UPDATE objects SET revision = revision.value, "
            "raw = json_set(raw, ?, json(?), '$.metadata.resourceVersion', CAST(revision.value AS TEXT)) "
            "FROM revision WHERE kind = ? AND name = ?",
            (field, json.dumps(value), key.kind, key.name),
        )


@asynccontextmanager
async def running(
    path: Path,
    ray: FakeRay,
    *manifests: dict[str, Any],
    may_act: bool = True,
    able: tuple[str, ...] = ("local", "slurm"),
    watch: Callable[[SqliteStore], AsyncIterator[Change]] | None = None,
) -> AsyncIterator[World]:
    """`able`: the backends that the engine has. `watch`: what it hears of the store, if not all at once."""
    store = await SqliteStore.open(path / FILE)
    backend, slurm = (FakeBackend(address_of=loopback_address(ray.url, ray.url)) for _ in range(2))
    choices = {
        "local": BackendChoice("Local", AllocationKind.LOCAL_PROCESSES, backend),
        "slurm": BackendChoice("Slurm", AllocationKind.SLURM_JOBS, slurm),
    }
    if manifests:
        await store.apply_all(manifests)
    stop = asyncio.Event()
    world = World(store, backend, slurm, ray, may_act)
    backends = Backends("standalone", "local", {name: choices[name] for name in able})
    changes = watch(store) if watch else None
    world.engine = Engine(store, backends, world.metrics, may_act=lambda: world.may_act, changes=changes)
    task = asyncio.create_task(world.engine.run(stop))
    try:
        yield world
    finally:
        stop.set()
        await task
        await store.close()


def live(path: Path, ray: FakeRay, scenario: Callable[[World], Awaitable[None]], *manifests: dict[str, Any], **how: Any) -> None:
    """Run a scenario in a world that begins with these objects."""

    async def run() -> None:
        async with running(path, ray, *manifests, **how) as world:
            await scenario(world)

    asyncio.run(run())
