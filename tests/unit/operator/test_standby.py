"""An engine that hears of everything and works on nothing, until it leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from matrix_crds.cluster import Allocation, AllocationKind, MatrixCluster
from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.fake import FakeBackend
from matrix_operator.engines.loop import Engine
from matrix_operator.metrics import OperatorMetrics
from matrix_store.port import Change, ChangeType
from matrix_store.sqlite import SqliteStore

LAB = ObjectKey("MatrixCluster", "default", "lab")


async def until_written(store: SqliteStore, true: str = "") -> None:
    """Returns when the cluster has a status (in which that condition is True)."""
    async for change in store.watch("MatrixCluster"):
        status = change.object.raw.get("status") if change.object else None
        if status and (not true or {"type": true, "status": "True"}.items() <= _condition(status, true).items()):
            return


def _condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next((dict(item) for item in status.get("conditions", ()) if item["type"] == type_), {})


class Telling(FakeBackend):
    """Says when it was asked to make something."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def ensure(self, cluster: MatrixCluster, desired: Allocation) -> None:
        await super().ensure(cluster, desired)
        self.asked.set()


async def _telling(store: SqliteStore, read: asyncio.Event) -> AsyncIterator[Change]:
    """The store's own watch; says when everything has been told."""
    async for change in store.watch("MatrixCluster", "ModelDeployment"):
        yield change
        if change.type is ChangeType.SYNCED:
            read.set()


def test_a_standby_is_warm_and_acts_only_when_it_leads(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "matrix.db")
        await store.apply({"apiVersion": API_VERSION, "kind": "MatrixCluster", "metadata": {"name": "lab"}, "spec": {}})
        backend = Telling()
        choices = {"local": BackendChoice("Local", AllocationKind.LOCAL_PROCESSES, backend)}
        leads, stop, read = asyncio.Event(), asyncio.Event(), asyncio.Event()
        metrics = OperatorMetrics()
        engine = Engine(store, Backends("test", "local", choices), metrics, keep_running=True, leads=leads, changes=_telling(store, read))
        running = asyncio.create_task(engine.run(stop))
        await read.wait()
        before = (await store.get(LAB)).resource_version
        await asyncio.sleep(0.5)  # the time in which it would act, if it did
        assert engine.synced
        assert backend.calls == []
        assert (await store.get(LAB)).resource_version == before
        assert (engine.stalled, engine.longest) == (0.0, 0.0), "what waits for the lead is not stuck"
        leads.set()
        await backend.asked.wait()
        assert backend.calls[0] == "ensure lab"
        stop.set()
        await running
        await store.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_everything_can_be_looked_at_again_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "matrix.db")
        await store.apply({"apiVersion": API_VERSION, "kind": "MatrixCluster", "metadata": {"name": "lab"}, "spec": {}})
        backend = FakeBackend(blind="nothing can be seen")  # looked at again after half a minute
        choices = {"local": BackendChoice("Local", AllocationKind.LOCAL_PROCESSES, backend)}
        stop = asyncio.Event()
        engine = Engine(store, Backends("test", "local", choices), OperatorMetrics(), keep_running=True)
        running = asyncio.create_task(engine.run(stop))
        await until_written(store)
        backend.blind = ""
        engine.look_again()
        async with asyncio.timeout(20):
            await until_written(store, "BackendReachable")
        stop.set()
        await running
        await store.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))
