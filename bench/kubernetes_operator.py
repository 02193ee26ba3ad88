"""The operator on a real API server: 1,000 clusters with a model each until all are Ready, beside an operator in the usual style; what it
costs in calls and memory, and how soon it sees an edit. KubeRay and the machines are a stand-in that answers at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.controller import cluster, deployment
from bench.report import Row, report
from matrix_crds.keys import ObjectKey
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import connect
from matrix_store.kubernetes.paths import collection, of
from tests.e2e.kubernetes.kuberay.backend_world import eventually
from tests.lab.control_plane import ControlPlane
from tests.lab.ports import free_port

ROOT = Path(__file__).parents[1]
CLUSTERS = int(os.environ.get("CLUSTERS", "1000"))
"""Each with one model."""
CRDS = [*sorted((ROOT / "crds").glob("*.yaml")), ROOT / "tests" / "lab" / "kuberay" / "rayclusters.yaml"]
NAMESPACE = "bench"
CREATORS = 16
READY_SECONDS = 900.0
SETTLE_SECONDS = 60.0
"""For what follows from getting ready: the last events are written."""
REST_SECONDS = 60.0
LOOK_SECONDS = 3.0
"""Between two looks whether all is Ready: each lists everything."""
EDITS = 200
EDITS_PER_SECOND = 10
KINDS = ("MatrixCluster", "ModelDeployment")
MEGABYTE = 1e6


@dataclass(frozen=True)
class Run:
    """What one operator took. Calls are those of the operator alone, without its watches."""

    ready_seconds: float
    cpu_seconds: float
    server_cpu_seconds: float
    """Of etcd, API server, controllers and scheduler."""
    megabytes: float
    calls: dict[str, float]
    """Until all was Ready, by method."""
    rest_calls: dict[str, float]
    """A minute at rest."""
    edits: tuple[float, ...]


@contextmanager
def process(*argv: str, log: Path, kubeconfig: Path) -> Iterator[psutil.Process]:
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}  # where kopf's own login looks
    with log.open("w") as errors:
        child = subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env=environ, text=True)
    try:
        yield psutil.Process(child.pid) if not argv[1].endswith("world") else _Said(child)  # type: ignore[misc]
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class _Said(psutil.Process):
    """A process that prints one line when it is up."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        super().__init__(child.pid)
        assert child.stdout is not None
        self.line = child.stdout.readline().strip()


@asynccontextmanager
async def calling(plane: ControlPlane) -> AsyncIterator[Api]:
    api = Api(connect(kubeconfig=plane.kubeconfig))
    try:
        yield api
    finally:
        await api.close()


async def create_all(api: Api, manifests: Sequence[dict[str, Any]]) -> None:
    left = iter(manifests)

    async def creator() -> None:
        for manifest in left:
            metadata = manifest["metadata"] | {"namespace": NAMESPACE}
            await api.create(collection(manifest["kind"], NAMESPACE), manifest | {"metadata": metadata})

    await asyncio.gather(*(creator() for _ in range(CREATORS)))


async def listens(port: int) -> bool:
    """Whether the operator has begun; of one without a port it is taken for granted."""
    try:
        return not port or bool(calls(port))
    except OSError:
        return False


async def unready(api: Api) -> int:
    count = 0
    for kind in KINDS:
        items, _ = await api.list_all(collection(kind, NAMESPACE))
        count += sum(not _is_ready(item) for item in items)
    return count


def _is_ready(item: dict[str, Any]) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or ()
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def calls(port: int) -> dict[str, float]:
    """Of our operator so far, by method; nothing of one that does not count them."""
    if not port:
        return {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for method, value in re.findall(r'^matrix_api_calls_total\{.*?method="(\w+)".*?\} (\S+)$', text, re.MULTILINE):
        found[method] = found.get(method, 0) + float(value)
    return found


def cpu(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes)


async def until_ready(api: Api, operator: psutil.Process, what: str) -> float:
    started = time.monotonic()
    while left := await unready(api):
        assert operator.is_running() and operator.status() != psutil.STATUS_ZOMBIE, f"{what} has ended"
        assert time.monotonic() - started < READY_SECONDS, f"{what}: {left} objects are not Ready after {READY_SECONDS:.0f} s"
        await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - started


async def edits(api: Api) -> list[float]:
    """Seconds from an edit of a model to a status that has seen it."""
    seconds: list[float] = []
    for number in random.Random(1).sample(range(CLUSTERS), min(EDITS, CLUSTERS)):
        key = ObjectKey("ModelDeployment", NAMESPACE, f"d{number}")
        changed = await api.merge(of(key), {"spec": {"engine": {"dummy": {"seed": number + 2}}}})
        started, generation = time.monotonic(), changed["metadata"]["generation"]

        async def seen(key: ObjectKey = key, generation: int = generation) -> bool:
            status = (await api.get(of(key))).get("status") or {}
            return bool(status.get("observedGeneration") == generation)

        await eventually(seen)
        seconds.append(time.monotonic() - started)
        await asyncio.sleep(max(0.0, 1 / EDITS_PER_SECOND - seconds[-1]))
    return seconds


async def measure(plane: ControlPlane, operator: psutil.Process, port: int) -> Run:
    manifests = [cluster(f"c{number}") for number in range(CLUSTERS)] + [deployment(f"d{n}", f"c{n}") for n in range(CLUSTERS)]
    servers = [psutil.Process(one.pid) for one in plane.processes]
    async with calling(plane) as api:
        await eventually(lambda: listens(port))
        await asyncio.sleep(5)
        cpu_before, servers_before, calls_before = cpu([operator]), cpu(servers), calls(port)
        started = time.monotonic()
        await create_all(api, manifests)
        print(f"  created after {time.monotonic() - started:.1f} s", flush=True)
        await until_ready(api, operator, "the operator")
        ready = time.monotonic() - started
        spent_each = {one.name(): round(sum(one.cpu_times()[:2]), 1) for one in servers}
        print(f"  ready after {ready:.1f} s; processor seconds since their start: {spent_each}", flush=True)
        spent, servers_spent = cpu([operator]) - cpu_before, cpu(servers) - servers_before
        done = _difference(calls(port), calls_before)
        if not port:
            return Run(ready, spent, servers_spent, operator.memory_info().rss / MEGABYTE, done, {}, ())
        await asyncio.sleep(SETTLE_SECONDS)
        resting = calls(port)
        await asyncio.sleep(REST_SECONDS)
        rest = _difference(calls(port), resting)
        seen = await edits(api)
        return Run(ready, spent, servers_spent, operator.memory_info().rss / MEGABYTE, done, rest, tuple(seen))


def _difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def run(module: str, port: int) -> Run:
    """One operator, with a control plane of its own."""
    print(f"  {module}: {CLUSTERS} clusters, {CLUSTERS} models", flush=True)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        logs = Path(os.environ.get("BENCH_LOGS", scratch))
        plane = stack.enter_context(ControlPlane(Path(scratch) / "plane", crds=CRDS, scheduler=True))
        plane.api.create_namespace(NAMESPACE)
        world = stack.enter_context(
            process("-m", "bench.kubernetes_world", str(plane.kubeconfig), log=logs / "world.log", kubeconfig=plane.kubeconfig)
        )
        assert isinstance(world, _Said)
        extra = [str(port)] if port else []
        argv = ("-m", module, str(plane.kubeconfig), world.line, *extra)
        operator = stack.enter_context(process(*argv, log=logs / f"{module}.log", kubeconfig=plane.kubeconfig))
        return asyncio.run(measure(plane, operator, port))


def main() -> None:
    ours = run("bench.kubernetes_ours", free_port())
    writes = sum(value for method, value in ours.calls.items() if method != "GET")
    print(f"  {ours.ready_seconds:.1f} s, {ours.cpu_seconds:.1f} s of processor time, {ours.megabytes:.0f} MB")
    print(f"  calls until Ready: {ours.calls}; in {REST_SECONDS:.0f} s at rest: {ours.rest_calls}", flush=True)
    objects = 2 * CLUSTERS
    rows = [
        Row(f"{CLUSTERS} clusters and models to Ready", (ours.ready_seconds,), "s", "< 60 s", ours.ready_seconds < 60),
        Row("operator's CPU until then", (ours.cpu_seconds,), "s"),
        Row("control plane's CPU until then", (ours.server_cpu_seconds,), "s"),
        Row("operator's memory", (ours.megabytes,), "MB", "< 250 MB", ours.megabytes < 250),
        Row("writes for each object until Ready", (writes / objects,), "", "<= 10", writes / objects <= 10),
        Row("calls a minute at rest, each object", (sum(ours.rest_calls.values()) / objects,), ""),
    ]
    if ours.edits:
        late = sorted(ours.edits)[int(0.99 * len(ours.edits))]
        rows.append(Row("edit to observedGeneration, p99", (late,), "s", "< 2 s", late < 2))
    if "alone" not in os.environ.get("BENCH", ""):
        usual = run("bench.kubernetes_usual", 0)
        rows += [
            Row("the usual operator: to Ready", (usual.ready_seconds,), "s"),
            Row("its CPU", (usual.cpu_seconds,), "s"),
            Row("its memory", (usual.megabytes,), "MB"),
            Row("ours / the usual one, to Ready", (ours.ready_seconds / usual.ready_seconds,), "x"),
        ]
    report("kubernetes_operator", rows)


if __name__ == "__main__":
    main()
