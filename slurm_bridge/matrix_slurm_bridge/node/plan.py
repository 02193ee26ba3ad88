"""What the job script asks of the node's program, and what Slurm adds to it."""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.node.record import Fence
from matrix_slurm_bridge.slurm.names import JobTag

HEAD_COMMAND, WORKER_COMMAND = "head", "worker"


@dataclass(frozen=True)
class NodePlan:
    command: str
    directory: ClusterDirectory
    tag: JobTag
    ray_version: str
    cpus: int
    """That Ray gives to tasks."""
    memory: int
    """Bytes."""
    gpus: int
    accelerator: str | None
    resources: Mapping[str, float]
    ports: range
    """From which a block is chosen."""
    local_directory: Path | None
    """The profile's; None: the job's own."""
    grace: timedelta
    """How long a worker without a head keeps its job."""
    restart: int
    """How often Slurm has run the job again."""
    job_id: str
    marker: str
    """In the environment of everything that this run of the job starts, and of nothing else anywhere."""

    @property
    def fence(self) -> Fence:
        return Fence(self.tag.attempt, self.tag.serial, self.restart)


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> NodePlan:
    """Ends the process with one line for what it does not understand, as argparse does."""
    given = _parser().parse_args(argv)
    tag = JobTag(given.uid, given.role, given.index, given.attempt, given.serial)
    restart, job_id = int(environ.get("SLURM_RESTART_COUNT") or 0), environ.get("SLURM_JOB_ID", "")
    return NodePlan(
        command=given.command,
        directory=ClusterDirectory(given.cluster),
        tag=tag,
        ray_version=given.ray_version,
        cpus=given.cpus,
        memory=given.memory,
        gpus=given.gpus,
        accelerator=given.accelerator,
        resources=dict(given.resource),
        ports=given.ports,
        local_directory=given.local_directory,
        grace=timedelta(seconds=given.grace),
        restart=restart,
        job_id=job_id,
        marker=f"{tag.comment}:{restart}:{job_id}:{secrets.token_hex(8)}",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m matrix_slurm_bridge.node", description="Runs one node of a cluster inside its job.")
    parser.add_argument("command", choices=[HEAD_COMMAND, WORKER_COMMAND])
    parser.add_argument("--cluster", type=Path, required=True, help="the cluster's shared directory")
    parser.add_argument("--uid", required=True)
    parser.add_argument("--role", required=True, help="head, or the worker group's name")
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--serial", type=int, required=True)
    parser.add_argument("--ray-version", required=True)
    parser.add_argument("--cpus", type=int, required=True, help="that Ray gives to tasks")
    parser.add_argument("--memory", type=int, required=True, help="bytes")
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--accelerator")
    parser.add_argument("--resource", type=_resource, action="append", default=[], help="NAME=AMOUNT")
    parser.add_argument("--ports", type=_ports, required=True, help="FIRST-LAST")
    parser.add_argument("--local-directory", type=Path)
    parser.add_argument("--grace", type=int, default=0, help="seconds that a worker waits for another head")
    return parser


def _resource(text: str) -> tuple[str, float]:
    name, _, amount = text.rpartition("=")
    return name, float(amount)


def _ports(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)
