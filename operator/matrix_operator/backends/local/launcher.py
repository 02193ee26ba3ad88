"""Starts the nodes of a plan, then ends: `python -m matrix_operator.backends.local.launcher PLAN.json`.

It outlives a controller's kill. If it is killed itself, what it started is found by the cluster's marker.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from subprocess import Popen
from types import FrameType

from matrix_operator.backends.local.journal import (
    DASHBOARD,
    GCS,
    RAYLET,
    Journal,
    LaunchFailure,
    LaunchPlan,
    LaunchState,
    NodePlan,
    PartRecord,
    name_of,
    read,
)
from matrix_operator.backends.local.logs import last_words
from matrix_operator.backends.local.procfs import MARKER_PART
from matrix_operator.backends.local.spawning import spawn
from matrix_store.home import Home

TIME_LIMIT_SECONDS = 90
"""For one node. Ray's own waits add up to minutes when something is wrong."""


class Launcher:
    """Carries out one plan."""

    def __init__(self, plan: LaunchPlan, journal: Journal) -> None:
        self._plan = plan
        self._journal = journal
        self._node = plan.nodes[0].name
        self._started: list[tuple[PartRecord, Popen[bytes]]] = []

    def run(self) -> None:
        """Start the nodes one after another. The first failure is reported and ends it."""
        self._report("loading Ray")
        from matrix_operator.backends.local.ray_node import start_node  # seconds: only after the first report

        for node in self._plan.nodes:
            self._node = node.name
            signal.alarm(TIME_LIMIT_SECONDS)
            try:
                start_node(self._plan.cluster, node, partial(self._spawn, node))
            except Exception as error:
                self._report("failed", failure=LaunchFailure(node=node.name, message=self._explain(error)))
                raise
        self._report("done", finished=True)

    def _spawn(self, node: NodePlan, part: str, argv: list[str]) -> Popen[bytes]:
        self._report(f"starting {name_of(part)}")
        gpus = {"CUDA_VISIBLE_DEVICES": ",".join(node.gpu_ids)} if node.gpu_ids and part not in (GCS, DASHBOARD) else {}
        record = PartRecord(part=part, argv=tuple(argv), environment=gpus, started_at=datetime.now(UTC))
        self._journal.put(record)  # before the process is: a kill in between loses nothing
        child = spawn(argv, {**os.environ, **gpus, MARKER_PART: part}, Path.cwd())
        self._started.append((record, child))
        if part in (RAYLET, node.name):
            self._report("waiting for the raylet to register with the GCS")
        return child

    def _report(self, doing: str, *, finished: bool = False, failure: LaunchFailure | None = None) -> None:
        now = datetime.now(UTC)
        state = LaunchState(written_at=self._plan.written_at, node=self._node, doing=doing, since=now, finished=finished, failure=failure)
        self._journal.put(state)

    def _explain(self, error: Exception) -> str:
        """What went wrong: if a part ended, its last lines."""
        for record, child in self._started:
            if child.poll() is not None:
                return f"{name_of(record.part)} ended with exit code {child.returncode}: {last_words(record)}"
        return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"it did not come up within {TIME_LIMIT_SECONDS} s")


def main() -> int:
    signal.signal(signal.SIGALRM, _out_of_time)
    plan_file = Path(sys.argv[1])
    plan = read(plan_file, LaunchPlan)
    if plan is None:
        return 1
    with Path("launcher.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 1  # another one is at it: one Ray only
        Launcher(plan, Journal(Home(Path(plan.cluster.home)), plan.cluster.uid)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
