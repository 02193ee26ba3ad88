"""Real Ray clusters on this machine, driven through the backend as the engine drives it: ensure and observe in a loop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.base import ObjectMeta
from matrix_crds.cluster import Allocation, AllocationKind, Head, HeadResources, MatrixCluster, MatrixClusterSpec, Resources, WorkerGroup
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.backend import LocalBackend
from matrix_operator.backends.local.journal import Journal
from matrix_operator.backends.local.orphans import end_orphan
from matrix_operator.backends.local.procfs import Processes
from matrix_operator.backends.local.view import is_part
from matrix_operator.backends.port import BackendRefusal, NodePhase, Observation, RayAddress, RemovalState
from matrix_operator.looks import Look, Present
from matrix_store.home import Home
from tests.e2e.foreign_ray import ForeignRay


def wait_for(condition: Callable[[], Any], what: str | Callable[[], str], timeout: float = 240.0) -> Any:
    """The first true value of the condition; fails the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what() if callable(what) else what}: not within {timeout} s"
        time.sleep(0.05)
    return value


class Driver:
    """One cluster and what is done with it."""

    def __init__(self, home: Home, name: str, spec: MatrixClusterSpec) -> None:
        self.home = home
        self.uid = f"e2e-{name}-{os.getpid()}-{time.time_ns()}"
        self.cluster = MatrixCluster(metadata=ObjectMeta(name=name, uid=self.uid), spec=spec)
        self.journal = Journal(home, self.uid)
        self.backend = LocalBackend(home)
        self.attempt = 1
        self.refused = ""
        """Why the last start failed."""

    def change(self, **fields: Any) -> None:
        self.cluster = self.cluster.model_copy(update={"spec": self.cluster.spec.model_copy(update=fields)})

    def ensure(self) -> None:
        hash_, name = self.backend.template_hash(self.cluster), self.cluster.metadata.name
        desired = Allocation(kind=AllocationKind.LOCAL_PROCESSES, name=name, template_hash=hash_, attempt=self.attempt)
        asyncio.run(self.backend.ensure(self.cluster, desired))

    def observe(self) -> Look[Observation]:
        return asyncio.run(self.backend.observe(self.cluster))

    def settle(self) -> None:
        """Until every node that is wanted runs."""
        wait_for(self.step, lambda: f"{self.cluster.metadata.name} runs ({self.refused})")

    def step(self) -> bool:
        try:
            self.ensure()
        except BackendRefusal as refusal:
            if refusal.reason is not ClusterReason.START_FAILED:
                raise
            self.refused = refusal.message  # tried again: on a busy machine parts of Ray give up after 30 s
        look = self.observe()
        assert isinstance(look, Present), look
        return all(node.phase is NodePhase.RUNNING for node in (look.state.head, *look.state.workers))

    def address(self) -> RayAddress:
        address = asyncio.run(self.backend.address(self.cluster))
        assert address is not None
        return address

    def rest(self, path: str, body: Any = None, method: str = "GET") -> Any:
        """A call of Ray's REST API; None while it does not answer as it should."""
        address = self.address()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {address.ray_token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{address.dashboard_url}{path}", data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read() or b"{}")
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def up(self) -> float:
        """Seconds from nothing until Ray's REST API answers."""
        begun = time.monotonic()
        self.settle()
        wait_for(lambda: self.rest("/api/version"), "the dashboard answers")
        return time.monotonic() - begun

    def remove(self, within: float = 60.0) -> float:
        begun = time.monotonic()
        metadata = self.cluster.metadata.model_copy(update={"deletion_timestamp": datetime.now(UTC)})
        deleted = self.cluster.model_copy(update={"metadata": metadata})
        wait_for(lambda: asyncio.run(self.backend.remove(deleted)).state is RemovalState.GONE, "gone", within)
        return time.monotonic() - begun

    def pids(self, part: str | None = None) -> list[int]:
        """Of every process of the cluster, or of a part's own."""
        found = Processes().marked(self.uid)
        return sorted(p.identity.pid for p in found if part is None or (p.part == part and is_part(part, p.argv) and p.leads_session))

    def kill(self, part: str) -> int:
        (pid,) = self.pids(part)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: pid not in self.pids(), f"{part} is dead", 30)
        return pid

    def alive_nodes(self) -> list[str]:
        answer = self.rest("/api/v0/nodes") or {}
        rows = answer.get("data", {}).get("result", {}).get("result", [])
        return sorted(row["node_name"] for row in rows if row["state"] == "ALIVE")


SMALL = Resources(cpu="1", memory="1Gi")


def spec(**fields: Any) -> MatrixClusterSpec:
    return MatrixClusterSpec(head=Head(resources=HeadResources(**SMALL.model_dump())), **fields)


def group(replicas: int) -> WorkerGroup:
    return WorkerGroup(name="w", replicas=replicas, resources=SMALL, ray_resources={"disk": 2})


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("state") / "matrix")
    home.create()
    return home


@pytest.fixture(scope="session")
def make(home: Home) -> Iterator[Callable[..., Driver]]:
    """Makes drivers, and removes their clusters in the end."""
    made: list[Driver] = []

    def make(name: str, **fields: Any) -> Driver:
        made.append(Driver(home, name, spec(**fields)))
        return made[-1]

    yield make
    for driver in made:
        end_orphan(driver.uid)  # one whose record a failed test has lost
        driver.remove()


@pytest.fixture(scope="session")
def wait() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(scope="session")
def worker_group() -> Callable[[int], WorkerGroup]:
    return group


@pytest.fixture(scope="session")
def foreign_ray() -> Iterator[ForeignRay]:
    directory = Path(f"/tmp/foreign-ray-{os.getpid()}")
    directory.mkdir()
    ray = ForeignRay(directory)
    try:
        yield ray
    finally:
        ray.stop()


@pytest.fixture(scope="session")
def alpha(make: Callable[..., Driver], foreign_ray: ForeignRay) -> Driver:
    """A cluster that stays up for the whole session, beside a foreign Ray."""
    driver = make("alpha")
    seconds = driver.up()
    print(f"\nup: {seconds:.1f} s, `ray start`: {foreign_ray.seconds:.1f} s, ratio {seconds / foreign_ray.seconds:.2f}")
    return driver


@pytest.fixture(scope="session")
def refusal() -> type[BackendRefusal]:
    return BackendRefusal
