"""The controller: from an edit to its status with 1,000 objects, and what it costs at rest with 20 objects on a real cluster."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.report import Row, report
from matrix_crds.cluster import AllocationKind
from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.fake import FakeBackend, loopback_address
from matrix_operator.engines.loop import Engine
from matrix_operator.metrics import ControllerMetrics
from matrix_store.database import Database
from matrix_store.home import Home
from matrix_store.sqlite import SqliteStore
from tests.e2e.product.product import Product

CLUSTERS = 100
DEPLOYMENTS = 900
EDITS = 300
EDITS_PER_SECOND = 20
REST_SECONDS = 30.0


def cluster(name: str) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "MatrixCluster", "metadata": {"name": name}, "spec": {}}


def deployment(name: str, on: str, *, seed: int = 1, replicas: int = 1) -> dict[str, Any]:
    spec = {
        "clusterRef": {"name": on},
        "model": {"source": "file:///none"},
        "engine": {"dummy": {"seed": seed}},
        "replicas": replicas,
        "resources": {"cpu": 1, "memory": "256Mi"},
    }
    return {"apiVersion": API_VERSION, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}


def thousand_objects() -> Row:
    """Seconds from an edit, written by another process's connection, to a status that has seen it."""
    with tempfile.TemporaryDirectory() as directory:
        home = Home(Path(directory))
        database = Database(home.database)
        names = [(f"d{number}", f"c{number % CLUSTERS}") for number in range(DEPLOYMENTS)]
        database.objects.apply_all([cluster(f"c{number}") for number in range(CLUSTERS)])
        database.objects.apply_all([deployment(name, on) for name, on in names])
        ray = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.ray_server"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert ray.stdout is not None
        try:
            url = ray.stdout.readline().strip()
            seconds = asyncio.run(edit_while_it_runs(home, database, url, names))
        finally:
            ray.terminate()
            ray.wait()
            database.close()
    ordered = sorted(seconds)
    middle, late = ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))]
    print(f"  1,000 objects, {len(ordered)} edits at {EDITS_PER_SECOND}/s: p50 {middle:.3f} s, p99 {late:.3f} s")
    return Row("edit to status, p99, 1,000 objects", (late,), "s", "< 1 s", late < 1.0)


async def edit_while_it_runs(home: Home, database: Database, url: str, names: list[tuple[str, str]]) -> list[float]:
    store = await SqliteStore.open(home.database)
    backend = FakeBackend(address_of=loopback_address(url + "/{name}", url + "/{name}"))
    choice = BackendChoice("Local", AllocationKind.LOCAL_PROCESSES, backend)
    stop = asyncio.Event()
    engine = asyncio.create_task(Engine(store, Backends("standalone", "local", {"local": choice}), ControllerMetrics()).run(stop))
    try:
        await settled(database)
        return await asyncio.to_thread(edits, database, names)
    finally:
        stop.set()
        await engine
        await store.close()


async def settled(database: Database) -> None:
    """Until every object has a status for its generation, and five seconds more."""
    started = time.monotonic()
    while await asyncio.to_thread(unseen, database):
        assert time.monotonic() - started < 300, "1,000 objects did not settle within 300 s"
        await asyncio.sleep(0.5)
    print(f"  1,000 objects had their first status after {time.monotonic() - started:.1f} s")
    await asyncio.sleep(5)


def unseen(database: Database) -> int:
    kinds = ("MatrixCluster", "ModelDeployment")
    every = [stored for kind in kinds for stored in database.objects.list(kind, None)]
    return sum((stored.raw.get("status") or {}).get("observedGeneration") != stored.generation for stored in every)


def edits(database: Database, names: list[tuple[str, str]]) -> list[float]:
    chosen = random.Random(1).sample(names, EDITS)
    pending: dict[str, tuple[float, int]] = {}
    seconds: list[float] = []
    started = time.monotonic()
    for number, (name, on) in enumerate(chosen):
        [(stored, _)] = database.objects.apply_all([deployment(name, on, seed=number + 2)])
        pending[name] = (time.monotonic(), stored.generation)
        while time.monotonic() < started + (number + 1) / EDITS_PER_SECOND:
            seconds += collect(database, pending)
    deadline = time.monotonic() + 60
    while pending and time.monotonic() < deadline:
        seconds += collect(database, pending)
    assert not pending, f"{len(pending)} edits were never seen"
    return seconds


def collect(database: Database, pending: dict[str, tuple[float, int]]) -> list[float]:
    time.sleep(0.005)
    seen = []
    for name, (at, generation) in list(pending.items()):
        status = database.objects.get(ObjectKey("ModelDeployment", "default", name)).raw.get("status") or {}
        if status.get("observedGeneration") == generation:
            seen.append(time.monotonic() - at)
            del pending[name]
    return seen


def at_rest() -> list[Row]:
    """CPU and memory of the real controller with a real cluster, one dummy model, and 18 that are scaled to zero."""
    with Product() as product:
        database = Database(product.home.database)
        database.objects.apply_all([cluster("rest"), deployment("d0", "rest")])
        database.objects.apply_all([deployment(f"d{number}", "rest", replicas=0) for number in range(1, 19)])
        product.matrix("controller", "run", "--detach")
        product.matrix("wait", "mxd/d0", "--for", "condition=Ready", "--timeout", "240")
        process = psutil.Process(product.controller_pid())
        time.sleep(15)  # the watcher's own settling
        before, started = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(REST_SECONDS)
        share = 100 * (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - started)
        memory = process.memory_info().rss / 2**20
        database.close()
    return [
        Row("controller at rest, 20 objects", (share,), "% of a core", "< 1 %", share < 1.0),
        Row("controller's memory, 20 objects", (memory,), "MB RSS", "< 120 MB", memory < 120),
    ]


def main() -> None:
    report("controller", [thousand_objects(), *at_rest()])


if __name__ == "__main__":
    main()
