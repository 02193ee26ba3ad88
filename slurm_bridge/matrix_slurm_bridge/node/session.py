"""What head and worker have in common: one run of a job on one node, from its first check to the end of its last process."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.cluster_directory import RAY_TOKEN
from matrix_slurm_bridge.node.ending import kill_all, reap, signal_process
from matrix_slurm_bridge.node.environment import ray_environment
from matrix_slurm_bridge.node.errors import Ended, NodeFailure
from matrix_slurm_bridge.node.launch import Launch, LaunchPlan
from matrix_slurm_bridge.node.network import address_towards
from matrix_slurm_bridge.node.parts import RAYLET, Part
from matrix_slurm_bridge.node.places import Place, free_shared_memory
from matrix_slurm_bridge.node.plan import NodePlan
from matrix_slurm_bridge.node.ports import Block
from matrix_slurm_bridge.node.procfs import family
from matrix_slurm_bridge.node.signals import Signals
from matrix_slurm_bridge.node.status import NodePhase, StatusFile
from matrix_store.process_identity import ProcessIdentity

LOOK_SECONDS = 2.0
"""How often head.json is read."""
_GOODBYE_SECONDS = 1.5
"""For a raylet to tell the GCS that it goes: else the others believe in the node for half a minute more. Slurm's KillWait may be short."""
_KILL_SECONDS = 20.0
_OBJECT_STORE_MINIMUM = 75 * 2**20  # Ray refuses less (ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES)
_OBJECT_STORE_MAXIMUM = 2 * 2**30


class Session:
    def __init__(
        self,
        plan: NodePlan,
        place: Place,
        status: StatusFile,
        signals: Signals,
        environ: Mapping[str, str],
        address: str,
        guardian: int,
        clock: Callable[[], datetime],
    ) -> None:
        self.plan = plan
        self.place = place
        self.status = status
        self.signals = signals
        self.address = address
        self.environment = ray_environment(plan, place, environ, address)
        self.clock = clock
        self.parts: dict[str, Part] = {}
        self._environ = environ
        self._guardian = guardian
        """Open as long as this process lives."""

    def turn_to(self, head: str) -> None:
        """This node's address is the one on the way to that head."""
        self.address = address_towards(head) or self.address
        self.environment = ray_environment(self.plan, self.place, self._environ, self.address, head)

    def check(self) -> None:
        """Raises NodeFailure for what can be known before anything is started."""
        check_ray(self.plan.ray_version)
        token = self.plan.directory.secrets / RAY_TOKEN
        try:
            if not token.read_text().strip():
                raise NodeFailure(f"{token} is empty; the bridge writes it before it submits a job")
        except OSError as error:
            raise NodeFailure(f"{token} can't be read: {error.strerror}; the bridge writes it before it submits a job") from error

    def wait(self, seconds: float, *descriptors: int) -> None:
        """Raises Ended when Slurm has said so."""
        self.signals.wait(seconds, *descriptors)
        reap()
        if self.signals.ending is not None:
            raise Ended(f"Slurm ended the job ({self.signals.ending.name})")

    def launch(self, launch: Launch, block: Block, gcs_address: str | None, every: Callable[[], None]) -> None:
        """Start Ray's processes here and wait until the raylet is known to the GCS. `every` is called all the while. Raises NodeFailure,
        with nothing of it left; Ended; whatever `every` raises."""
        launch.begin(self._launch_plan(block, gcs_address))
        try:
            while not launch.read():
                self.parts = dict(launch.parts)
                self.wait(0.5, launch.output)
                every()
            self.parts = dict(launch.parts)
            if launch.failure is not None:
                self.kill()
                mismatch = "Version mismatch" in launch.failure
                raise NodeFailure(launch.failure, ClusterReason.RAY_VERSION_MISMATCH if mismatch else ClusterReason.START_FAILED)
        finally:
            launch.close()

    def say_goodbye(self) -> None:
        """Ask the raylet to go, and wait a moment."""
        raylet = self.parts.get(RAYLET)
        if raylet is None or raylet.process is None or not raylet.alive:
            return
        signal_process(raylet.process, signal.SIGTERM)
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while raylet.alive and time.monotonic() < deadline:
            time.sleep(0.05)

    def kill(self) -> list[ProcessIdentity]:
        """End every process of this run but this one; who is left."""
        self.parts = {}
        with suppress(OSError):
            return kill_all(self._family, _KILL_SECONDS)
        return []

    def run_helper(self, module: str, *arguments: str, seconds: float) -> bool:
        """Run one of our own modules in Ray's environment; whether it ended well."""
        argv = [sys.executable, "-m", module, *arguments]
        try:
            return subprocess.run(argv, env=self.environment, cwd=self.place.directory, timeout=seconds, check=False).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    def drain_asked(self) -> bool:
        """By Slurm, since the time limit is near, or by the agent."""
        if self.signals.time_is_short:
            return True
        with suppress(OSError):
            return self.plan.directory.drain_file(self.plan.tag).exists()
        return False

    def starting(self, message: str) -> None:
        self.status.say(NodePhase.STARTING, message)

    def _family(self) -> list[ProcessIdentity]:
        return family(self.plan.marker, root=os.getpid())

    def _launch_plan(self, block: Block, gcs_address: str | None) -> LaunchPlan:
        return LaunchPlan(
            node_name=self.plan.tag.node_name,
            address=self.address,
            gcs_address=gcs_address,
            ports=dict(block.ports),
            ray_directory=str(self.place.ray),
            cpus=self.plan.cpus,
            gpus=self.plan.gpus,
            memory=self.plan.memory,
            object_store_memory=object_store_memory(self.plan.memory, free_shared_memory()),
            accelerator=self.plan.accelerator,
            resources=dict(self.plan.resources),
        )


def check_ray(wanted: str) -> None:
    """Raises NodeFailure unless that Ray is installed beside this program."""
    try:
        found = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        fact = f"Ray is not installed in the environment of {sys.executable}"
        raise NodeFailure(f"{fact}; install it there, or correct python in the site's file", ClusterReason.RAY_VERSION_MISMATCH) from None
    if found != wanted:
        fact = f"spec.ray.version is {wanted}, but Ray {found} is installed in the environment of {Path(sys.executable)}"
        raise NodeFailure(f"{fact}; write `version: {found}`, or name a profile with another Python", ClusterReason.RAY_VERSION_MISMATCH)


def object_store_memory(memory: int, shared_memory: int) -> int:
    """Bytes for Ray's object store, which holds little here: requests and answers go around it. A tenth of the node's memory, at most 2
    GiB and half of the free shared memory, at least Ray's minimum."""
    return max(min(memory // 10, _OBJECT_STORE_MAXIMUM, shared_memory // 2), _OBJECT_STORE_MINIMUM)
