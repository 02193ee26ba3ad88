"""The operator on a real API server: 1,000 clusters with a model each until all are Ready, beside an operator in the usual style; what
each process costs, calls, memory, and how soon an edit is seen. KubeRay and the machines are a stand-in that answers at once.

CLUSTERS=100 for fewer, BENCH=alone without the peer, BENCH=peer for the peer alone, BENCH_LOGS=DIRECTORY keeps the logs.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import psutil

from bench.controller import cluster, deployment
from bench.kubernetes_figures import Figures
from bench.kubernetes_lab import Lab, calling, calls, cpu, megabytes, peak_megabytes, running
from bench.kubernetes_progress import Progress, following
from matrix_crds.keys import ObjectKey
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.paths import collection, of
from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.ports import free_port

USUAL_CLUSTERS = 1000
CLUSTERS = int(os.environ.get("CLUSTERS", USUAL_CLUSTERS))
"""Each with one model."""
OBJECTS = 2 * CLUSTERS
MODE = os.environ.get("BENCH", "")
NAMESPACE = "bench"
CREATORS = 16
READY_SECONDS = max(600.0, 0.6 * CLUSTERS)
START_SECONDS = 120.0
CALM_SECONDS = 5.0
"""After an operator says that it runs, before there is work."""
SETTLE_SECONDS = 45.0
"""For what follows from getting ready: the last events are written."""
REST_SECONDS = 60.0
EDIT_SECONDS = 60.0
EDITS = 200
EDITS_PER_SECOND = 10
KINDS = ("MatrixCluster", "ModelDeployment")
OURS, USUAL = "ours", "the usual operator"


async def measure(lab: Lab, who: str, figures: Figures, compared: dict[str, float]) -> None:
    """Of one operator, each figure told as soon as it is known; `compared` gets those that both have. Raises TimeoutError."""
    async with calling(lab.plane) as api, following(api, [collection(kind, NAMESPACE) for kind in KINDS]) as progress:
        await asyncio.sleep(CALM_SECONDS)
        compared |= await _until_ready(lab, who, figures, api, progress)
        if lab.port:
            await _at_rest(lab, who, figures)
            await _edits(who, figures, api, progress)
            figures.add(f"{who}: memory at its highest", peak_megabytes(lab.operator), "MB", below=250)


async def _until_ready(lab: Lab, who: str, figures: Figures, api: Api, progress: Progress) -> dict[str, float]:
    before, called, started = {name: cpu(one) for name, one in lab.processes.items()}, calls(lab.port), time.monotonic()
    await _create_all(api, [cluster(f"c{number}") for number in range(CLUSTERS)] + [deployment(f"d{n}", f"c{n}") for n in range(CLUSTERS)])
    figures.add(f"{who}: {CLUSTERS} clusters and models created", time.monotonic() - started, "s")
    try:
        await progress.until(lambda: len(progress.ready) == OBJECTS, READY_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"{who}: only {len(progress.ready)} of {OBJECTS} objects are Ready after {READY_SECONDS:.0f} s") from None
    ready = time.monotonic() - started
    spent = {name: cpu(one) - before[name] for name, one in lab.processes.items()}
    figures.add(f"{who}: to Ready", ready, "s", below=60 if lab.port else None)
    control_plane = sum(spent[name] for name in lab.servers)
    figures.add(f"{who}: CPU until then, the operator", spent["operator"], "s")
    figures.add(f"{who}: CPU until then, the control plane", control_plane, "s")
    figures.add_each(f"{who}: CPU until then", {name: value for name, value in spent.items() if name != "operator"}, "s")
    figures.add(f"{who}: versions of each object until Ready", progress.versions / OBJECTS)
    if lab.port:
        _tell_calls(f"{who}: calls until Ready, each object", _difference(calls(lab.port), called), figures, below=10)
    memory = megabytes(lab.operator)
    figures.add(f"{who}: memory", memory, "MB")
    return {"to Ready": ready, "the operator's CPU": spent["operator"], "the control plane's CPU": control_plane, "memory": memory}


async def _at_rest(lab: Lab, who: str, figures: Figures) -> None:
    await asyncio.sleep(SETTLE_SECONDS)
    called, spent = calls(lab.port), {name: cpu(one) for name, one in lab.processes.items()}
    await asyncio.sleep(REST_SECONDS)
    _tell_calls(f"{who}: calls a minute at rest, each object", _difference(calls(lab.port), called), figures)
    for name in ("operator", *lab.servers):
        figures.add(f"{who}: share of a core at rest, {name}", 100 * (cpu(lab.processes[name]) - spent[name]) / REST_SECONDS, "%")


async def _edits(who: str, figures: Figures, api: Api, progress: Progress) -> None:
    """From an edit of a model, one after another, to a status that has seen it."""
    seconds: list[float] = []
    for number in random.Random(1).sample(range(CLUSTERS), min(EDITS, CLUSTERS)):
        started = time.monotonic()
        edited = await api.merge(of(ObjectKey("ModelDeployment", NAMESPACE, f"d{number}")), _edit(number))
        await progress.until(partial(progress.has_seen, edited), EDIT_SECONDS)
        seconds.append(time.monotonic() - started)
        await asyncio.sleep(max(0.0, 1 / EDITS_PER_SECOND - seconds[-1]))
    seconds.sort()
    figures.add(f"{who}: edit to observedGeneration, median", seconds[len(seconds) // 2], "s")
    figures.add(f"{who}: edit to observedGeneration, p99", seconds[int(0.99 * len(seconds))], "s", below=2)


def _edit(number: int) -> dict[str, Any]:
    """One that changes what its cluster's Serve is told."""
    return {"spec": {"engine": {"dummy": {"seed": number + 2}}}}


def _called(lab: Lab) -> bool:
    """Whether it has made a call that it counts."""
    assert lab.operator.status() != psutil.STATUS_ZOMBIE, "the operator has ended; BENCH_LOGS=DIRECTORY keeps its log"
    try:
        return bool(calls(lab.port))
    except OSError:
        return False


async def _create_all(api: Api, manifests: Sequence[dict[str, Any]]) -> None:
    left = iter(manifests)

    async def creator() -> None:
        for manifest in left:
            metadata = manifest["metadata"] | {"namespace": NAMESPACE}
            await api.create(collection(manifest["kind"], NAMESPACE), manifest | {"metadata": metadata})

    await asyncio.gather(*(creator() for _ in range(CREATORS)))


def _tell_calls(what: str, by_method: dict[str, float], figures: Figures, below: float | None = None) -> None:
    each = {method: value / OBJECTS for method, value in by_method.items()}
    figures.add(f"{what}, that write", sum(value for method, value in each.items() if method != "GET"), below=below)
    figures.add_each(what, each, "")


def _difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def run(module: str, port: int, who: str, figures: Figures) -> dict[str, float]:
    """One operator, with a control plane of its own. What it did not come to in time is said, and left out."""
    print(f"{who}:", flush=True)
    compared: dict[str, float] = {}
    try:
        with running(module, port, NAMESPACE) as lab:
            wait_for(lambda: not port or _called(lab), f"{who} has begun", START_SECONDS)
            asyncio.run(measure(lab, who, figures, compared))
    except (TimeoutError, LabError) as error:
        print(f"  {who} is given up: {error or 'an edit was not seen in time'}", flush=True)
    return compared


def main() -> None:
    figures = Figures("kubernetes_operator" if CLUSTERS == USUAL_CLUSTERS else f"kubernetes_operator_{CLUSTERS}")
    try:
        ours = run("bench.kubernetes_ours", free_port(), OURS, figures) if MODE != "peer" else {}
        usual = run("bench.kubernetes_usual", 0, USUAL, figures) if MODE != "alone" else {}
        for what in [what for what in ours if what in usual]:
            figures.add(f"ours / the usual operator, {what}", ours[what] / usual[what], "x")
    finally:
        figures.table()


if __name__ == "__main__":
    main()
