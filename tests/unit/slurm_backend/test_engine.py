"""The engine with the Slurm backend, sites in memory and a stand-in for Ray: whole lives of clusters, without a job being submitted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import AllocationKind
from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.slurm.backend import SlurmBackend
from matrix_operator.backends.slurm.front import Direct
from matrix_operator.backends.slurm.secrets import HomeSecrets
from matrix_operator.engines.loop import Engine
from matrix_operator.metrics import ControllerMetrics
from matrix_proto.bridge_pb2 import ClusterDesired, TunnelTarget
from matrix_store.errors import NotFound
from matrix_store.home import Home
from matrix_store.sqlite import SqliteStore
from tests.fakes.ray_server import FakeRay, serve
from tests.fakes.sites import FakeSites

LAB = ObjectKey("MatrixCluster", "default", "lab")
M = ObjectKey("ModelDeployment", "default", "m")
SECONDS = 60.0


def cluster(**spec: Any) -> dict[str, Any]:
    body = {"backend": {"slurm": {"site": "fair"}}} | spec
    return {"apiVersion": API_VERSION, "kind": "MatrixCluster", "metadata": {"name": "lab"}, "spec": body}


def model() -> dict[str, Any]:
    body = {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "resources": {"cpu": 1, "memory": "256Mi"}}
    return {"apiVersion": API_VERSION, "kind": "ModelDeployment", "metadata": {"name": "m"}, "spec": body}


class World:
    """A running engine and all that it touches."""

    def __init__(self, store: SqliteStore, sites: FakeSites, home: Home) -> None:
        self.store, self.sites, self.home = store, sites, home

    async def until(self, key: ObjectKey, status: str, reason: str, type_: str = "Ready") -> str:
        """Wait until the condition is so; its message."""
        deadline = time.monotonic() + SECONDS
        while True:
            condition = await self.condition(key, type_)
            if (condition.get("status"), condition.get("reason")) == (status, reason):
                return str(condition.get("message", ""))
            assert time.monotonic() < deadline, f"{key} is {condition}, not {status}/{reason}"
            await asyncio.sleep(0.02)

    async def condition(self, key: ObjectKey, type_: str) -> dict[str, Any]:
        conditions = (await self.status(key)).get("conditions") or []
        return next((dict(item) for item in conditions if item["type"] == type_), {})

    async def status(self, key: ObjectKey) -> dict[str, Any]:
        return dict((await self.store.get(key)).raw.get("status") or {})

    async def attempt(self, number: int) -> None:
        deadline = time.monotonic() + SECONDS
        while (await self.status(LAB))["allocation"]["attempt"] != number:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    async def gone(self, key: ObjectKey) -> None:
        deadline = time.monotonic() + SECONDS
        with pytest.raises(NotFound):
            while time.monotonic() < deadline:
                await self.store.get(key)
                await asyncio.sleep(0.02)


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with serve(FakeRay()) as server:
        yield server


@asynccontextmanager
async def running(path: Path, sites: FakeSites, *manifests: dict[str, Any]) -> AsyncIterator[World]:
    home = Home(path / "state")
    home.create()
    store = await SqliteStore.open(home.database)
    backend = SlurmBackend(sites, HomeSecrets(home, {}), Direct(sites, EndpointScope.SITE))
    choices = {"slurm": BackendChoice("Slurm", AllocationKind.SLURM_JOBS, backend)}
    await store.apply_all(manifests)
    stop = asyncio.Event()
    task = asyncio.create_task(Engine(store, Backends("standalone", "slurm", choices), ControllerMetrics()).run(stop))
    try:
        yield World(store, sites, home)
    finally:
        stop.set()
        await task
        await store.close()


def live(path: Path, ray: FakeRay, scenario: Callable[[World], Awaitable[None]], *manifests: dict[str, Any], **steering: Any) -> None:
    host_port = urlsplit(ray.url).netloc
    sites = FakeSites(dict.fromkeys(TunnelTarget.values(), host_port), **steering)

    async def run() -> None:
        async with running(path, sites, *manifests) as world:
            await scenario(world)

    asyncio.run(run())


def test_a_cluster_and_its_model_become_ready_and_go(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.until(LAB, "True", "Ready")
        await world.until(M, "True", "Ready")
        status = await world.status(LAB)
        assert (status["backend"], status["allocation"]["kind"]) == ("Slurm", "SlurmJobs")
        assert status["allocation"]["name"].startswith("mx-")
        assert {endpoint["scope"] for endpoint in status["endpoints"]} == {"Site"}
        uid = (await world.store.get(LAB)).uid
        assert (world.home.cluster(uid) / "secrets" / "client-token").exists()
        system = next(entry for entry in ray.puts[0]["applications"] if entry["name"] == "mx-system")
        assert (system["args"]["secretsDir"], system["args"]["stateUrl"]) == ("/shared/c/secrets", "http://10.0.0.1:2")
        await world.store.delete(LAB)
        await world.gone(LAB)
        assert world.sites.told[-1].phase == ClusterDesired.DELETE
        assert world.sites.forgotten == [uid]
        assert not world.home.cluster(uid).exists()

    live(tmp_path, ray, scenario, cluster(), model())


def test_a_site_that_falls_silent_leaves_everything_as_it_was(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.until(LAB, "True", "Ready")
        endpoints = (await world.status(LAB))["endpoints"]
        world.sites.silence = "the bridge of site fair is not connected"
        message = await world.until(LAB, "Unknown", "BackendUnreachable")
        assert "not connected" in message
        await world.store.delete(LAB)
        await world.until(LAB, "Unknown", "Deleting")
        phases = [wish.phase for wish in world.sites.told]
        assert set(phases[phases.index(ClusterDesired.DELETE) :]) == {ClusterDesired.DELETE}
        assert (await world.status(LAB))["endpoints"] in (endpoints, [])
        world.sites.silence = ""
        await world.gone(LAB)

    live(tmp_path, ray, scenario, cluster())


def test_a_cluster_whose_site_comes_later_starts_when_it_comes(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.until(LAB, "Unknown", "BackendUnreachable")
        assert "allocation" not in await world.status(LAB)
        world.sites.silence = ""
        await world.until(LAB, "True", "Ready")

    live(tmp_path, ray, scenario, cluster(), silence="the bridge of site fair is not connected")


def test_what_the_site_refuses_is_told_in_its_words(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        assert await world.until(LAB, "False", "InvalidSpec") == "Slurm: Invalid account"
        await world.store.apply(cluster(head={"resources": {"cpu": 3}}))
        await world.attempt(2)  # nothing was made of the former template
        world.sites.refusal = ""
        await world.until(LAB, "True", "Ready")

    live(tmp_path, ray, scenario, cluster(), refusal="Slurm: Invalid account")


def test_a_site_that_nobody_configured_does_not_hold_its_cluster(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        assert "no site 'fiar'" in await world.until(LAB, "Unknown", "BackendUnreachable")
        await world.store.delete(LAB)
        await world.gone(LAB)

    live(tmp_path, ray, scenario, cluster(backend={"slurm": {"site": "fiar"}}))


def test_a_cluster_is_made_anew_only_after_its_former_jobs_have_ended(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.until(LAB, "True", "Ready")
        await world.store.apply(cluster(upgradePolicy={"restartedAt": "2026-06-01T12:00:00Z"}))
        await world.attempt(2)
        await world.until(LAB, "True", "Ready")
        phases = [(wish.phase, wish.attempt) for wish in world.sites.told]
        assert sorted(set(phases), key=phases.index) == [
            (ClusterDesired.PRESENT, 1),
            (ClusterDesired.DELETE, 1),
            (ClusterDesired.PRESENT, 2),
        ]
        tokens = [dict(wish.secrets) for wish in world.sites.told if wish.phase == ClusterDesired.PRESENT]
        assert tokens[0] == tokens[-1], "they stay when a cluster is made anew"

    live(tmp_path, ray, scenario, cluster())


def test_orphaned_it_outlives_its_object_and_the_site_is_told_nothing(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.until(LAB, "True", "Ready")
        await world.store.delete(LAB)
        await world.gone(LAB)
        assert {wish.phase for wish in world.sites.told} == {ClusterDesired.PRESENT}

    live(tmp_path, ray, scenario, cluster(deletionPolicy="Orphan"))


def test_when_its_time_limit_ends_it_is_in_the_status(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.until(LAB, "True", "Ready")
        uid = (await world.store.get(LAB)).uid
        world.sites.deaf = True
        world.sites.reports[uid].report.expires_at.FromDatetime(datetime(2030, 1, 2, tzinfo=UTC))
        deadline = time.monotonic() + SECONDS
        while (await world.status(LAB))["allocation"].get("expiresAt") != "2030-01-02T00:00:00Z":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    live(tmp_path, ray, scenario, cluster())
