"""kill -9 of the operator between every two steps of a cluster's life, and a new one each time: the same end, and one RayCluster only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.kubernetes.kuberay.fake_reach import ray_of
from tests.e2e.kubernetes.operator.objects import Objects
from tests.e2e.kubernetes.operator.operators import Operator, Operators
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import LabError
from tests.lab.kuberay.standin import InThread

pytestmark = pytest.mark.timeout(1200)

PHASE_SECONDS = 500.0
STEADY_SECONDS = 3.0
"""An operator that reached the end state and lives for so long has no more steps to be killed at."""


class Mortal:
    """Operators that are killed at every position in turn, and followed by another."""

    def __init__(self, crew: Operators, tried: Path, ray: str) -> None:
        self._crew = crew
        self._tried = tried
        self._ray = ray
        self._current: Operator | None = None
        tried.touch()

    @property
    def positions(self) -> list[str]:
        return self._tried.read_text().splitlines()

    def until(self, reached: Callable[[], bool], what: str) -> None:
        """Operators follow each other until the state is reached and one of them lives on in it. The lease of the killed one is taken
        from it by the test, as if its time were over: the waiting is tested elsewhere."""
        deadline = time.monotonic() + PHASE_SECONDS
        steady_since: float | None = None
        while time.monotonic() < deadline:
            if self._current is None or not self._current.process.running:
                self._crew.free_lease()
                self._current = self._crew.start(ray=self._ray, tried=str(self._tried))
                steady_since = None
            if not reached() or not self._current.leads:  # what one before it has reached is none of its own
                steady_since = None
            elif steady_since is None:
                steady_since = time.monotonic()
            elif time.monotonic() - steady_since > STEADY_SECONDS:
                return
            time.sleep(0.1)
        raise LabError(f"{what}: not within {PHASE_SECONDS:g} s; the last log:\n{self._current.process.tail(40) if self._current else ''}")


class Census:
    """A context: all RayClusters that were ever seen in a namespace, by uid."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, name="census")
        self.seen: set[str] = set()

    def __enter__(self) -> Census:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _count(self) -> None:
        while not self._over.wait(0.05):
            self.seen |= {item["metadata"]["uid"] for item in self._objects.list("rayclusters")}


def test_killed_between_every_two_steps(control_plane: ControlPlane, crew: Operators, kuberay: InThread, tmp_path: Path) -> None:
    objects = Objects(control_plane, crew.namespace)
    with ray_of(kuberay) as ray, Census(objects) as census:
        mortal = Mortal(crew, tmp_path / "tried", ray.url)
        objects.create("matrixclusters", "lab", {"workerGroups": [{"name": "cpu", "replicas": 2}]})
        objects.create("modeldeployments", "m", {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "model": {"source": "file:///m"}})
        mortal.until(lambda: objects.ready("matrixclusters", "lab") and objects.ready("modeldeployments", "m"), "both are ready")
        assert len(objects.list("pods")) == 3
        assert len(census.seen) == 1
        objects.delete("matrixclusters", "lab")
        mortal.until(lambda: not objects.exists("matrixclusters", "lab"), "the cluster is gone")
        assert objects.of_ours() == []
        assert len(census.seen) == 1, "it was made once, whenever the operator was killed"
    tried = {position.rsplit(" ", 1)[0] for position in mortal.positions}
    steps = ("AddFinalizer", "RecordAllocation", "Ensure", "PutServe", "Remove", "ReleaseFinalizer")
    assert tried == {f"{moment} {step}" for moment in ("before", "after") for step in steps}
