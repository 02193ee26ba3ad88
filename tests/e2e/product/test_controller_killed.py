"""kill -9 of the controller between every two steps of a cluster's life, and a restart each time: the same end state, and one Ray only."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from matrix_operator.backends.local.journal import HEAD_PARTS
from matrix_operator.backends.local.places import temporary_directory
from matrix_operator.backends.local.procfs import Processes
from matrix_operator.backends.local.view import is_part
from matrix_store.home import Home
from tests.e2e.product.inside import Objects, ask
from tests.e2e.product.product import Product, cluster, dummy

pytestmark = pytest.mark.timeout(900)

DRIVER = Path(__file__).with_name("controller_with_hook.py")
PHASE_SECONDS = 240.0
STEADY_SECONDS = 3.0
"""A controller that reached the end state and lives for so long has no more steps to be killed at."""


class Census:
    """A context: counts the main processes of a cluster, all the time. A second Ray would be seen."""

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count, name="census")
        self.seen: dict[str, set[int]] = {part: set() for part in HEAD_PARTS}
        """Every pid that a part ever had."""

    def __enter__(self) -> Census:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _count(self) -> None:
        while not self._over.wait(0.1):
            for process in Processes().marked(self._uid):
                if process.part in self.seen and process.leads_session and is_part(process.part, process.argv):
                    self.seen[process.part].add(process.identity.pid)


class Mortal:
    """Controllers that are killed at every position in turn. A context; the last one is ended by its pid."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Mortal:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def carry(self, phase: str, reached: Callable[[], bool]) -> list[str]:
        """Start controllers until one has reached the end state and lives on. Returns the positions at which the others died."""
        self._end()
        tried = self._home.root / f"tried-{phase}"
        tried.touch()
        deadline, steady = time.monotonic() + PHASE_SECONDS, 0.0
        while time.monotonic() - steady < STEADY_SECONDS or not steady:
            assert time.monotonic() < deadline, f"{phase}: not reached; tried {tried.read_text().split(chr(10))}"
            if self._process is None or self._process.poll() is not None:
                assert self._process is None or self._process.returncode == -9, self._process and self._process.returncode
                self._process, steady = self._start(tried), 0.0
            steady = (steady or time.monotonic()) if reached() else 0.0
            time.sleep(0.05)
        return tried.read_text().splitlines()

    def _start(self, tried: Path) -> subprocess.Popen[bytes]:
        with self._home.controller_log.open("ab") as log:
            command = [sys.executable, str(DRIVER), str(self._home.root), str(tried)]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def product() -> Iterator[Product]:
    with Product() as product:
        product.home.create()
        yield product


def test_killed_between_every_two_steps(product: Product, report: Callable[[str], None]) -> None:
    begun = time.monotonic()
    with Objects(product.home) as objects, Mortal(product.home) as controllers:
        objects.apply(cluster("one"))
        stored = objects.find("MatrixCluster", "one")
        assert stored is not None
        uid, record = stored.uid, product.home.cluster(stored.uid)
        with Census(uid) as census:
            tried = {"cluster up": controllers.carry("cluster-up", lambda: objects.is_ready("MatrixCluster", "one"))}
            objects.apply(dummy("d", "one"))
            tried["model up"] = controllers.carry("model-up", lambda: objects.is_ready("ModelDeployment", "d"))
            assert objects.is_ready("MatrixCluster", "one")
            url = objects.status("ModelDeployment", "d")["endpoints"][0]["url"]
            token = (record / "secrets" / "client-token").read_text().strip()
            assert ask(f"{url}/models", {"Authorization": f"Bearer {token}"})["data"][0]["id"] == "d"
            replicas = [p for p in Processes().marked(uid) if "ServeReplica:mx-md-d" in "".join(p.argv[:1])]
            assert len(replicas) == 1, "one replica, however often the configuration was put"

            objects.delete("ModelDeployment", "d")
            tried["model down"] = controllers.carry("model-down", lambda: objects.is_ready("MatrixCluster", "one") and not model_runs(uid))
            objects.delete("MatrixCluster", "one")
            tried["cluster down"] = controllers.carry("cluster-down", lambda: objects.find("MatrixCluster", "one") is None)
    assert Processes().marked(uid) == []
    assert not record.exists() and not temporary_directory(uid).exists()
    assert {part: len(pids) for part, pids in census.seen.items()} == dict.fromkeys(HEAD_PARTS, 1), "one Ray all the way"
    for phase, positions in tried.items():
        report(f"controller killed, {phase}: {', '.join(positions)}")
    report(f"controller killed {sum(map(len, tried.values()))} times in {time.monotonic() - begun:.0f} s")
    steps = {"cluster up": ("AddFinalizer", "RecordAllocation", "Ensure", "PutServe"), "model up": ("Ensure", "PutServe")}
    steps |= {"model down": ("Ensure", "PutServe"), "cluster down": ("Remove", "ReleaseFinalizer")}
    wanted = {(phase, f"{moment} {step} 1") for phase, names in steps.items() for step in names for moment in ("before", "after")}
    assert wanted <= {(phase, position) for phase, positions in tried.items() for position in positions}


def model_runs(uid: str) -> bool:
    return any("ServeReplica:mx-md-" in "".join(process.argv[:1]) for process in Processes().marked(uid))
