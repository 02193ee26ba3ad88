"""What the bench of the operator runs: a control plane, what is around an operator, the operator; and what each of them has spent."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import connect
from tests.lab.control_plane import ControlPlane

ROOT = Path(__file__).parents[1]
CRDS = [*sorted((ROOT / "crds").glob("*.yaml")), ROOT / "tests" / "lab" / "kuberay" / "rayclusters.yaml"]
END_SECONDS = 30.0
MEGABYTE = 1e6


@dataclass(frozen=True)
class Lab:
    """All of it runs."""

    plane: ControlPlane
    operator: psutil.Process
    port: int
    """Of the operator's metrics; 0 if it has none."""
    processes: Mapping[str, psutil.Process]
    """By name: those of the control plane, the operator, the world."""

    @property
    def servers(self) -> tuple[str, ...]:
        """The names of the control plane's processes."""
        return tuple(name for name in self.processes if name not in ("operator", "world"))


@contextmanager
def running(module: str, port: int, namespace: str) -> Iterator[Lab]:
    """An operator that is the Python module, with a control plane of its own, and nothing else in it."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        logs = Path(os.environ.get("BENCH_LOGS", scratch))
        plane = stack.enter_context(ControlPlane(Path(scratch) / "plane", crds=CRDS, scheduler=True))
        plane.api.create_namespace(namespace)
        world = stack.enter_context(_process("bench.kubernetes_world", str(plane.kubeconfig), logs=logs, plane=plane))
        assert world.stdout is not None
        rays = world.stdout.readline().strip()
        argv = [str(plane.kubeconfig), rays, *([str(port)] if port else [])]
        operator = psutil.Process(stack.enter_context(_process(module, *argv, logs=logs, plane=plane)).pid)
        servers = {psutil.Process(one.pid).name(): psutil.Process(one.pid) for one in plane.processes}
        yield Lab(plane, operator, port, {"operator": operator, "world": psutil.Process(world.pid), **servers})


@contextmanager
def _process(module: str, *arguments: str, logs: Path, plane: ControlPlane) -> Iterator[subprocess.Popen[str]]:
    environ = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}  # where kopf's own login looks
    with (logs / f"{module}.log").open("w") as errors:
        argv = [sys.executable, "-m", module, *arguments]
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env=environ, text=True)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@asynccontextmanager
async def calling(plane: ControlPlane) -> AsyncIterator[Api]:
    """The bench's own calls."""
    api = Api(connect(kubeconfig=plane.kubeconfig))
    try:
        yield api
    finally:
        await api.close()


def calls(port: int) -> dict[str, float]:
    """Of our operator so far, by method, without its watches; nothing of one that does not count them."""
    if not port:
        return {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for method, value in re.findall(r'^matrix_api_calls_total\{.*?method="(\w+)".*?\} (\S+)$', text, re.MULTILINE):
        found[method] = found.get(method, 0) + float(value)
    return found


def cpu(process: psutil.Process) -> float:
    """Seconds of processor time so far."""
    return float(sum(process.cpu_times()[:2]))


def megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MEGABYTE


def peak_megabytes(process: psutil.Process) -> float:
    """As the kernel remembers it (VmHWM)."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024 / MEGABYTE
