"""The operator as a process, with what only tests want: lab_operator.py SETTINGS (JSON, see operators.Wishes).

Everything is as in `matrix operator run`, but for the way to Ray: pods do not run here, so each cluster has a Ray of the test's own. Every
step is written to a file, by process and time. With `tried` the process kills itself between two steps (see KillOnce).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[4]
sys.path.insert(0, str(ROOT))

from matrix_operator.backends.kuberay.backend import KubeRayBackend  # noqa: E402
from matrix_operator.engines import kopf_thread  # noqa: E402
from matrix_operator.engines.health import Limits  # noqa: E402
from matrix_operator.engines.kubernetes import Carrier, Options  # noqa: E402
from matrix_operator.engines.kubernetes_main import main  # noqa: E402
from matrix_operator.engines.lease import Timing  # noqa: E402
from matrix_operator.reconcile.steps import Step  # noqa: E402
from matrix_store.kubernetes.api import Api  # noqa: E402
from matrix_store.kubernetes.connection import Connection  # noqa: E402
from tests.e2e.kill_once import KillOnce  # noqa: E402
from tests.e2e.kubernetes.kuberay.backend_world import SETTINGS  # noqa: E402
from tests.e2e.kubernetes.kuberay.fake_reach import FakeReach  # noqa: E402


class Hook:
    """Writes every step down; with `tried` it kills the process after that."""

    def __init__(self, steps: Path, tried: Path | None) -> None:
        self._steps = steps
        self._kill = KillOnce(tried) if tried else None

    async def __call__(self, step: Step, moment: str) -> None:
        with self._steps.open("a") as file:
            file.write(f"{os.getpid()} {time.monotonic():.3f} {moment} {type(step).__name__}\n")
        if self._kill is not None:
            await self._kill(step, moment)


def freeze(what: str) -> None:
    """Let kopf's thread, or the event loop of everything else, block for good at the first SIGUSR1."""

    def block_loop(*_: Any) -> None:
        time.sleep(3600)

    def block_kopf(*_: Any) -> None:
        loop = KOPF_LOOP[0]
        loop.call_soon_threadsafe(time.sleep, 3600)

    signal.signal(signal.SIGUSR1, block_kopf if what == "kopf" else block_loop)


KOPF_LOOP: list[asyncio.AbstractEventLoop] = []


def _catch_kopf() -> None:
    """Remember the loop that kopf runs in."""
    original = kopf_thread.KopfThread._kopf

    async def caught(self: kopf_thread.KopfThread, loop: asyncio.AbstractEventLoop) -> None:
        KOPF_LOOP[:] = [asyncio.get_running_loop()]
        await original(self, loop)

    kopf_thread.KopfThread._kopf = caught  # type: ignore[method-assign]


def carrier(url: str) -> Any:
    def make(api: Api, connection: Connection, options: Options) -> Carrier:
        reach = FakeReach(url)
        backend = KubeRayBackend(api, SETTINGS, reach, options.namespaces)
        return Carrier(backend, reach.http, backend.run, lambda: backend.age, lambda: backend.complete)

    return make


if __name__ == "__main__":
    wishes = json.loads(sys.argv[1])
    if wishes["freezes"]:
        _catch_kopf()
        freeze(wishes["freezes"])
    if wishes["hears_nothing"]:
        kopf_thread.KopfThread._run = lambda self, loop: None  # type: ignore[method-assign]
    sys.exit(
        main(
            Options(
                kubeconfig=Path(wishes["kubeconfig"]),
                namespaces=tuple(wishes["namespaces"]),
                lease_namespace=wishes["lease_namespace"],
                limits=Limits(**wishes["limits"]),
                timing=Timing(**wishes["timing"]),
            ),
            carrier(wishes["ray"]),
            Hook(Path(wishes["steps"]), Path(wishes["tried"]) if wishes["tried"] else None),
        )
    )
