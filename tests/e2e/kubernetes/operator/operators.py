"""Operators as processes: started, hurt and looked at."""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx2

from matrix_crds.on_kubernetes import OPERATOR
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.processes import Process

DRIVER = Path(__file__).with_name("lab_operator.py")
START_SECONDS = 120.0
END_SECONDS = 90.0
"""Of an orderly end, and of one that was wrong from the start."""
NOWHERE = "http://127.0.0.1:9"
"""A Ray that nobody answers for: a cluster is asked for again and again, and never ready."""


@dataclass(frozen=True)
class Wishes:
    """What a driver is told."""

    kubeconfig: str
    lease_namespace: str
    steps: str
    namespaces: tuple[str, ...] = ()
    ray: str = NOWHERE
    tried: str = ""
    freezes: str = ""
    hears_nothing: bool = False
    """Its watches tell it of no change."""
    limits: dict[str, float] = field(default_factory=dict)
    timing: dict[str, float] = field(default_factory=dict)


class Taken(NamedTuple):
    """A step that somebody took."""

    pid: int
    at: float
    """By time.monotonic(), which is the same for all processes of a machine."""
    moment: str
    step: str


class Operator:
    """One process."""

    def __init__(self, directory: Path, number: int, argv: list[str]) -> None:
        self.process = Process(f"operator-{number}", argv, directory, directory / f"operator-{number}.log")

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace") if self.process.log.exists() else ""

    def until(self, words: str, seconds: float = START_SECONDS) -> None:
        """Returns when the log has these words (a regular expression). Raises LabError with the log."""

        def there() -> bool:
            self.process.require_running()
            return re.search(words, self.log) is not None

        wait_for(there, f"{words!r} in the log", seconds)

    def standing_by(self) -> Operator:
        """Returns when it is ready to take over."""
        self.until(r"stands by: ")
        wait_for(lambda: self.ready.status_code == 200, "the standby is ready", START_SECONDS)
        return self

    @property
    def leads(self) -> bool:
        """Whether it has held the lease."""
        return "holds the lease " in self.log

    def leading(self, seconds: float = START_SECONDS) -> Operator:
        self.until(r"holds the lease ", seconds)
        return self

    def _get(self, port: str, path: str) -> httpx2.Response:
        found = re.findall(rf"{port} on port (\d+)", self.log)
        return httpx2.get(f"http://127.0.0.1:{found[-1]}{path}", timeout=10, trust_env=False)

    @property
    def live(self) -> httpx2.Response:
        return self._get("health", "/livez")

    @property
    def ready(self) -> httpx2.Response:
        return self._get("health", "/readyz")

    def metric(self, name: str) -> float:
        """One sample, by its name and labels as they are written."""
        lines = self._get("metrics", "/metrics").text.splitlines()
        return next(float(line.removeprefix(name)) for line in lines if line.startswith(f"{name} "))

    def ends(self, seconds: float) -> int:
        """Its exit code."""
        assert self.process.wait(seconds), f"it still runs after {seconds:g} s:\n{self.process.tail()}"
        assert self.process._process is not None
        return self.process._process.returncode


class Operators:
    """All of one test; their steps are in one file."""

    def __init__(self, directory: Path, plane: ControlPlane, kubeconfig: Path, namespace: str) -> None:
        self._directory = directory
        self._plane = plane
        self._kubeconfig = kubeconfig
        self.namespace = namespace
        self._numbers = itertools.count(1)
        self._all: list[Operator] = []
        self._steps = directory / "steps"
        self._steps.touch()

    def start(self, kubeconfig: Path | None = None, **wishes: object) -> Operator:
        """Returns at once."""
        settings = Wishes(
            str(kubeconfig or self._kubeconfig),
            self.namespace,
            str(self._steps),
            **{"namespaces": (self.namespace,), **wishes},  # type: ignore[arg-type]
        )
        return self.run([sys.executable, str(DRIVER), json.dumps(asdict(settings))])

    def run(self, argv: list[str]) -> Operator:
        """Any command line that is an operator's."""
        operator = Operator(self._directory, next(self._numbers), argv)
        operator.process.start()
        self._all.append(operator)
        return operator

    def free_lease(self) -> None:
        """As if its holder had given it back."""
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{OPERATOR}"
        if self._plane.api.exists(leases):
            change = {"spec": {"holderIdentity": ""}}
            answer = self._plane.api.http.patch(leases, json=change, headers={"Content-Type": "application/merge-patch+json"})
            answer.raise_for_status()

    @property
    def steps(self) -> list[Taken]:
        lines = [line.split() for line in self._steps.read_text().rpartition("\n")[0].splitlines()]  # the last may be half written
        return [Taken(int(pid), float(at), moment, step) for pid, at, moment, step in lines]

    def steps_of(self, operator: Operator) -> list[Taken]:
        return [step for step in self.steps if step.pid == operator.process.pid]

    def until_acts(self, operator: Operator, seconds: float) -> float:
        """Seconds until that one takes another step."""
        before, begun = len(self.steps_of(operator)), time.monotonic()
        wait_for(lambda: len(self.steps_of(operator)) > before, "the operator takes a step", seconds)
        return time.monotonic() - begun

    def end(self) -> None:
        for operator in self._all:
            operator.process.kill()


@contextmanager
def operators(directory: Path, plane: ControlPlane, namespace: str, user: str = "") -> Iterator[Operators]:
    """None of them outlives the block. They call as `user`, or as the administrator."""
    all_ = Operators(directory, plane, plane.kubeconfig_for(user) if user else plane.kubeconfig, namespace)
    try:
        yield all_
    finally:
        all_.end()


def stays(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition holds all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.1)
    return True
