"""What a node's program says of itself: `nodes/<node name>-<attempt>-<serial>.json`, read by the site's agent for reasons in words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.node.record import Fence
from matrix_store.files import replace_file


class NodePhase(StrEnum):
    STARTING = "Starting"
    RUNNING = "Running"
    """Of the head: GCS and dashboard have answered. Of a worker: its raylet is known to the GCS of the head `head`."""
    RECOVERING = "Recovering"  # a part of it died, or a worker has lost its head
    STANDBY = "Standby"  # of a head: Ray runs, and waits for the former head to end
    FAILED = "Failed"  # it has ended, or is about to: `reason` and `message` say why
    ENDED = "Ended"  # as it was told to


class NodeStatus(BaseModel):
    """One job's word. Everything beyond phase and message may be missing: the script writes some of it before Python runs."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True)

    phase: NodePhase
    reason: str = ""
    """One of ClusterReason, or empty."""
    message: str = ""
    """For a person: what it waits for, why it failed with the last lines of what failed, what to do."""
    since: datetime | None = None
    """Of the phase and its message."""
    restart: int = 0
    """SLURM_RESTART_COUNT."""
    job_id: str = ""
    host: str = ""
    pid: int = 0
    address: str = ""
    ports: dict[str, int] = Field(default_factory=dict)
    """By use, such as gcs; empty until a block of them is chosen."""
    head: Fence | None = None
    """Of a worker that runs: which head it has joined."""


def read_status(path: Path) -> NodeStatus | None:
    """None if there is none yet, or none that can be read."""
    try:
        return NodeStatus.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


class StatusFile:
    """Writes it, when something has changed. A shared directory that takes no file is no reason to end what runs: it is said on standard
    error, which is the job's output, and tried again at the next change."""

    def __init__(self, path: Path, first: NodeStatus, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock
        self._status = first
        self._written: NodeStatus | None = None

    @property
    def status(self) -> NodeStatus:
        return self._status

    def say(self, phase: NodePhase, message: str = "", reason: ClusterReason | None = None, *, head: Fence | None = None) -> None:
        """What is now. The same as before costs nothing."""
        new = {"phase": phase, "message": message, "reason": reason.value if reason else "", "head": head}
        if self._written is None or any(getattr(self._status, name) != value for name, value in new.items()):
            print(f"{self._clock():%Y-%m-%dT%H:%M:%SZ} {phase.value}{': ' + message if message else ''}", file=sys.stderr, flush=True)
            self._status = self._status.model_copy(update=new | {"since": self._clock()})
        self._write()

    def place(self, address: str, ports: Mapping[str, int]) -> None:
        """Where the node's servers are, from the next `say` on."""
        self._status = self._status.model_copy(update={"address": address, "ports": dict(ports)})

    def _write(self) -> None:
        if self._status == self._written:
            return
        try:
            replace_file(self._path, self._status.model_dump_json(by_alias=True).encode())
            self._written = self._status
        except OSError as error:
            print(f"{self._path} can't be written: {error.strerror}", file=sys.stderr, flush=True)
