"""The standalone engine: one process on one machine, objects in SQLite. Runs until nothing is left to manage.

It is part of the program that `matrix up` starts (matrix_cli.controller_process). It may be killed anywhere: what runs goes on running, and
the next one takes it over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import AllocationKind
from matrix_operator.backends.choice import BackendChoice, Backends
from matrix_operator.backends.local.backend import LocalBackend
from matrix_operator.backends.slurm.backend import SlurmBackend
from matrix_operator.backends.slurm.front import Direct
from matrix_operator.backends.slurm.secrets import HomeSecrets
from matrix_operator.backends.slurm.sites import Sites
from matrix_operator.engines.loop import Engine
from matrix_operator.engines.process import stop_on_signals
from matrix_operator.metrics import ControllerMetrics
from matrix_operator.reconcile.steps import StepHook, no_hook
from matrix_operator.tasks import first_to_end
from matrix_store.database import Database
from matrix_store.errors import LockedElsewhere, StoreError
from matrix_store.home import Home
from matrix_store.lock import HEARTBEAT_SECONDS, ControllerLock
from matrix_store.sqlite import SqliteStore

log = logging.getLogger(__name__)

EXIT_UNAVAILABLE = 5


def backends(home: Home, sites: Sites | None = None) -> Backends:
    """What this engine can run: on Slurm only where somebody knows the site."""
    choices = {"local": BackendChoice("Local", AllocationKind.LOCAL_PROCESSES, LocalBackend(home))}
    if sites is not None:
        slurm = SlurmBackend(sites, HomeSecrets(home), Direct(sites, EndpointScope.SITE))
        choices["slurm"] = BackendChoice("Slurm", AllocationKind.SLURM_JOBS, slurm)
    return Backends(engine="standalone", default="local", choices=choices)


async def run(home: Home, hook: StepHook = no_hook, sites: Sites | None = None) -> None:
    """Run the controller until it is told to stop (SIGTERM, SIGINT) or nothing is left. Raises StoreError."""
    metrics = ControllerMetrics()
    details = {"metricsPort": metrics.serve()}
    stop = stop_on_signals()
    while True:
        await _run_locked(home, metrics, details, hook, stop, sites)
        # Whoever applied something while the lock was still held has seen a controller and started none: look once more without it.
        if stop.is_set() or not await asyncio.to_thread(_has_clusters, home):
            return


async def _run_locked(
    home: Home, metrics: ControllerMetrics, details: dict[str, int], hook: StepHook, stop: asyncio.Event, sites: Sites | None
) -> None:
    """An engine, for as long as the lock is ours."""
    database = await asyncio.to_thread(Database, home.database)
    lock = database.lock()
    try:
        await asyncio.to_thread(lock.acquire, details)
        store = await SqliteStore.open(home.database)
        try:
            await first_to_end(Engine(store, backends(home, sites), metrics, hook, lock.safe_to_act).run(stop), _heartbeat(lock))
        finally:
            await store.close()
            with contextlib.suppress(StoreError):
                lock.release()
    finally:
        database.close()


def _has_clusters(home: Home) -> bool:
    with contextlib.closing(Database(home.database)) as database:
        return bool(database.objects.list("MatrixCluster"))


async def _heartbeat(lock: ControllerLock) -> None:
    """Raises LockedElsewhere when another controller has taken over."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            await asyncio.to_thread(lock.heartbeat)
        except LockedElsewhere:
            raise
        except StoreError as error:
            log.warning("the heartbeat could not be written: %s", error)


def main(program: str, work: Callable[[Home], Coroutine[Any, Any, None]]) -> int:
    """The program: reads the command line and does `work` (which is `run`, with its surroundings). The exit code is 5 when the store or its
    lock can't be had."""
    parser = argparse.ArgumentParser(prog=program, description="The controller of one machine.")
    parser.add_argument("--home", type=Path, required=True, help="the state directory")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        asyncio.run(work(Home(arguments.home)))
    except LockedElsewhere as error:
        log.error("%s", error)
        return EXIT_UNAVAILABLE
    except StoreError as error:
        log.error("the store can't be used: %s", error)
        return EXIT_UNAVAILABLE
    return 0
