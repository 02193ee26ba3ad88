"""Objects that this version can't read, in a running engine: what runs of them goes on, nothing is guessed, and nobody else suffers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.constants import FINALIZER
from matrix_crds.keys import ObjectKey
from tests.fakes.ray_server import FakeRay, serve
from tests.unit.operator.engine_world import LAB, M, World, alter, cluster, live, model

NEW = ObjectKey("ModelDeployment", "default", "new")


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with serve(FakeRay()) as server:
        yield server


async def break_and_delete(world: World, directory: Path) -> None:
    """A cluster that runs: its spec does not parse any more, then it is deleted, and gone."""
    await world.ready(LAB, "True", "Ready")
    alter(directory, LAB, "$.spec.speed", 9)
    await world.ready(LAB, "False", "InvalidSpec")
    await world.store.delete(LAB)
    await world.gone(LAB)


def test_a_policy_of_orphan_holds_whatever_else_is_in_the_spec(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await break_and_delete(world, tmp_path)
        assert world.backend.calls[-1] == "let go lab" and "remove lab" not in world.backend.calls
        assert len(world.backend.running) == 1

    live(tmp_path, ray, scenario, cluster(deletionPolicy="Orphan"))


def test_a_cluster_on_slurm_ends_on_slurm_whatever_else_is_in_the_spec(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await break_and_delete(world, tmp_path)
        assert world.slurm.calls[-1] == "remove lab" and world.slurm.running == {}
        assert world.backend.calls == []

    live(tmp_path, ray, scenario, cluster(backend={"slurm": {"site": "hpc"}}))


@pytest.mark.parametrize(
    ("path", "value", "saying"),
    [
        ("$.spec.deletionPolicy", "Keep", "being deleted"),
        ("$.spec.backend", {"moon": {}}, "being deleted"),
        ("$.status.allocation.kind", "Moons", "being deleted"),
        ("$.status.allocation.kind", "SlurmJobs", "runs as SlurmJobs"),  # the spec says nothing of Slurm
    ],
)
def test_a_cluster_of_which_is_not_known_how_it_ends_is_kept_and_says_so(
    tmp_path: Path, ray: FakeRay, path: str, value: Any, saying: str
) -> None:
    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        alter(tmp_path, LAB, path, value)
        await world.ready(LAB, "False", "InvalidSpec")
        await world.store.delete(LAB)
        before = (await world.status(LAB))["allocation"]
        await world.ready(LAB, "False", "InvalidSpec", saying)
        await asyncio.sleep(0.5)  # the time in which it would be let go
        kept = await world.store.get(LAB)
        assert FINALIZER in kept.finalizers and kept.raw["status"]["allocation"] == before
        assert not any(call.startswith(("remove", "let go")) for call in world.backend.calls + world.slurm.calls)
        assert len(world.backend.running) == 1

    live(tmp_path, ray, scenario, cluster())


def test_a_cluster_of_which_is_not_known_how_it_ends_ends_as_a_manifest_says_that_is_applied_to_it(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        alter(tmp_path, LAB, "$.spec.deletionPolicy", "Keep")
        await world.ready(LAB, "False", "InvalidSpec")
        await world.store.delete(LAB)
        await world.ready(LAB, "False", "InvalidSpec", "being deleted")
        await world.store.apply(cluster(deletionPolicy="Orphan"))
        await world.gone(LAB)
        assert world.backend.calls[-1] == "let go lab" and len(world.backend.running) == 1

    live(tmp_path, ray, scenario, cluster())


def test_a_status_that_can_not_be_read_is_made_anew_and_its_allocation_stays(tmp_path: Path, ray: FakeRay) -> None:
    """Each start of the controller once ended with such an object."""

    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        alter(tmp_path, LAB, "$.status.endpoints", [{"name": "openai", "url": "http://x", "scope": "Galaxy"}])
        alter(tmp_path, LAB, "$.status.backend", "Moon")
        status = await world.until(LAB, lambda status: status["backend"] == "Local", "made anew")
        assert {endpoint["scope"] for endpoint in status["endpoints"]} == {"Machine"}
        assert status["allocation"]["attempt"] == 1
        await world.ready(LAB, "True", "Ready")
        assert "remove lab" not in world.backend.calls

    live(tmp_path, ray, scenario, cluster())


def test_a_model_whose_status_can_not_be_read_is_one_of_its_cluster_from_the_start(tmp_path: Path, ray: FakeRay) -> None:
    async def before(world: World) -> None:
        await world.ready(M, "True", "Ready")

    async def after(world: World) -> None:
        await world.until(M, lambda status: status["replicas"] != "many", "made anew")
        await world.ready(M, "True", "Ready")
        assert "mx-md-m" in ray.applications

    live(tmp_path, ray, before, cluster(), model())
    alter(tmp_path, M, "$.status.replicas", "many")
    ray.applications.clear()
    live(tmp_path, ray, after)


def test_an_allocation_that_can_not_be_read_freezes_its_cluster_alone(tmp_path: Path, ray: FakeRay) -> None:
    other = cluster() | {"metadata": {"name": "other"}}

    async def scenario(world: World) -> None:
        await world.ready(LAB, "True", "Ready")
        alter(tmp_path, LAB, "$.status.allocation.kind", "Moons")
        assert "status.allocation.kind" in await world.ready(LAB, "False", "InvalidSpec")
        calls = len(world.backend.calls)
        await world.store.apply(cluster(head={"resources": {"cpu": 1, "memory": "3Gi"}}, upgradePolicy={"type": "Recreate"}))
        alter(tmp_path, M, "$.status.allocation", "a third")
        await world.ready(M, "False", "InvalidSpec")
        assert (await world.status(M))["allocation"] == "a third"
        await world.store.apply(other)
        await world.ready(ObjectKey("MatrixCluster", "default", "other"), "True", "Ready")
        assert "lab" not in " ".join(world.backend.calls[calls:])
        assert (await world.status(LAB))["allocation"]["kind"] == "Moons"
        alter(tmp_path, LAB, "$.status.allocation.kind", "LocalProcesses")
        alter(tmp_path, M, "$.status.allocation", {"attempt": 1})
        await world.ready(M, "True", "Ready")

    live(tmp_path, ray, scenario, cluster(), model())


def test_models_of_a_cluster_that_stops_parsing_say_that_they_can_not_know(tmp_path: Path, ray: FakeRay) -> None:
    async def scenario(world: World) -> None:
        await world.ready(M, "True", "Ready")
        endpoints = (await world.status(M))["endpoints"]
        alter(tmp_path, LAB, "$.spec.speed", 9)
        assert "speed" in await world.ready(M, "Unknown", "StateUnknown")
        assert (await world.condition(M, "ClusterReady"))["status"] == "Unknown"
        assert (await world.status(M))["endpoints"] == endpoints, "they serve on"
        assert world.engine.controller.views.seen == {}
        await world.store.apply(model("new"))
        await world.ready(NEW, "Unknown", "StateUnknown")
        await world.store.apply(cluster())
        await world.ready(M, "True", "Ready")
        await world.ready(NEW, "True", "Ready")

    live(tmp_path, ray, scenario, cluster(), model())


def test_models_of_a_cluster_whose_backend_is_switched_off_say_that_they_can_not_know(tmp_path: Path, ray: FakeRay) -> None:
    async def before(world: World) -> None:
        await world.ready(M, "True", "Ready")

    async def after(world: World) -> None:
        assert "slurm" in await world.ready(LAB, "False", "InvalidSpec")
        assert "slurm" in await world.ready(M, "Unknown", "StateUnknown")
        await world.store.apply(model("new"))
        await world.ready(NEW, "Unknown", "StateUnknown")
        await world.store.delete(LAB)
        world.engine.look_again()
        await asyncio.sleep(0.5)  # the time in which it would be let go
        assert FINALIZER in (await world.store.get(LAB)).finalizers

    live(tmp_path, ray, before, cluster(), model())
    live(tmp_path, ray, after, able=("slurm",))
