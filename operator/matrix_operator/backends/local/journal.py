"""What must be remembered about a cluster of this machine, as small files that are replaced atomically.

    <home>/clusters/<uid>/
      cluster.json          decided once: ports, directories, template, environment
      processes/<part>.json how each part is started; written before the part is
      plan.json             what the launcher was last told to start (holds a copy of cluster.json)
      launch.json           how far the launcher has come; its output is in launch.log
      secrets/              ray-token, client-token, api-keys.json (the keys that were issued)
      gcs/                  the GCS's own storage

That something runs is never concluded from here: only processes with the cluster's marker (procfs.py) count as running.
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from matrix_crds.base import LenientModel
from matrix_store.files import replace_file
from matrix_store.home import DIRECTORY_MODE, Home

HEAD = "head"
GCS, DASHBOARD, RAYLET = "gcs", "dashboard", "raylet"
HEAD_PARTS = (GCS, DASHBOARD, RAYLET)
LAUNCHER = "launcher"
CLUSTER_FILE = "cluster.json"
_NAMES = {GCS: "the GCS", DASHBOARD: "the dashboard", RAYLET: "the raylet"}


def name_of(part: str) -> str:
    """The part in words."""
    return _NAMES.get(part, f"worker {part}")


def node_of(part: str) -> str:
    return HEAD if part in HEAD_PARTS else part


class Ports(LenientModel):
    """Loopback ports of a cluster. Everything else binds a port of the system's choice and tells Ray which."""

    gcs: int
    dashboard: int
    state: int
    """For mx-system's state endpoint."""
    directory: int
    """For the directory's gRPC service."""
    gateway: int
    """For OpenAI's HTTP API."""


class NodeTemplate(LenientModel):
    """What a node offers to Ray."""

    cpus: int
    memory: int
    """Bytes."""
    gpus: int = 0
    accelerator: str | None = None
    resources: dict[str, float] = Field(default_factory=dict)


class Template(LenientModel):
    """Everything about a cluster that can't change without making nodes anew."""

    ray_version: str
    head: NodeTemplate
    groups: dict[str, NodeTemplate] = Field(default_factory=dict)


class ClusterRecord(LenientModel):
    uid: str
    name: str
    home: str
    directory: str
    """The short temporary directory: Ray's sessions, sockets and logs."""
    ports: Ports
    template: Template
    template_hash: str
    attempt: int
    started_at: datetime
    workers: dict[str, int] = Field(default_factory=dict)
    """By group: how many there were to be when that was looked at last."""
    environment: dict[str, str]
    """What was taken over from the user's environment; nothing secret."""


class NodePlan(LenientModel):
    """A node to start: the head, or worker <group>-<index>."""

    name: str
    template: NodeTemplate
    object_store_memory: int
    gpu_ids: tuple[str, ...] = ()


class LaunchPlan(LenientModel):
    cluster: ClusterRecord
    nodes: tuple[NodePlan, ...]
    attempt: int
    """Counts the launches since the last one that succeeded."""
    written_at: datetime


class LaunchFailure(LenientModel):
    node: str
    message: str


class LaunchState(LenientModel):
    """Written by the launcher alone. It belongs to the plan with the same `written_at`."""

    written_at: datetime
    node: str
    """The node that it is at."""
    doing: str
    since: datetime
    finished: bool = False
    failure: LaunchFailure | None = None


class PartRecord(LenientModel):
    """How a part is started, and how that went so far."""

    part: str
    argv: tuple[str, ...]
    environment: dict[str, str] = Field(default_factory=dict)
    """On top of the cluster's: its GPUs."""
    started_at: datetime
    quick_deaths: int = 0
    """How often in a row it ended soon after its start."""
    died_at: datetime | None = None
    ending_since: datetime | None = None
    """It was told to end: a surplus worker."""


class JournalUnreadable(Exception):
    """A file is there but can't be read now: nothing may be concluded. The text says why."""


class JournalCorrupt(Exception):
    """A file does not hold what was written."""


Record = TypeVar("Record", bound=BaseModel)


def read(path: Path, model: type[Record]) -> Record | None:
    """The record, or None if the file is not there. Raises JournalUnreadable, JournalCorrupt."""
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalUnreadable(f"{path} can't be read: {error.strerror}") from error
    except ValidationError as error:
        raise JournalCorrupt(str(path)) from error


def write(path: Path, record: BaseModel) -> None:
    """Replace the file in one step; a kill leaves the old or the new one. Raises OSError."""
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    replace_file(path, record.model_dump_json(by_alias=True, exclude_defaults=True, indent=1).encode())


class Journal:
    """The files of one cluster."""

    def __init__(self, home: Home, uid: str) -> None:
        self.directory = home.cluster(uid)
        self.secrets = self.directory / "secrets"
        self.gcs_storage = self.directory / "gcs"
        self.plan_file = self.directory / "plan.json"
        self.launch_log = self.directory / "launch.log"
        self._cluster = self.directory / CLUSTER_FILE
        self._launch = self.directory / "launch.json"
        self._processes = self.directory / "processes"

    def cluster(self) -> ClusterRecord | None:
        """None if there is none, or nothing of it is left to read. Raises JournalUnreadable."""
        try:
            return read(self._cluster, ClusterRecord)
        except JournalCorrupt:
            plan = self.plan()
            return plan.cluster if plan else None

    def plan(self) -> LaunchPlan | None:
        return _or_none(self.plan_file, LaunchPlan)

    def launch(self) -> LaunchState | None:
        return _or_none(self._launch, LaunchState)

    def parts(self) -> dict[str, PartRecord]:
        """The parts whose records can be read, by name. Raises JournalUnreadable."""
        found = (_or_none(path, PartRecord) for path in sorted(self._processes.glob("[!.]*.json")))
        return {record.part: record for record in found if record is not None}

    def put(self, record: ClusterRecord | LaunchPlan | LaunchState | PartRecord) -> None:
        """Raises OSError."""
        write(self._file_of(record), record)

    def forget(self, part: str) -> None:
        (self._processes / f"{part}.json").unlink(missing_ok=True)

    def forget_processes(self) -> None:
        """Everything about what runs; ports, secrets and the GCS's storage stay."""
        shutil.rmtree(self._processes, ignore_errors=True)
        for path in (self.plan_file, self._launch):
            path.unlink(missing_ok=True)

    def _file_of(self, record: ClusterRecord | LaunchPlan | LaunchState | PartRecord) -> Path:
        match record:
            case ClusterRecord():
                return self._cluster
            case LaunchPlan():
                return self.plan_file
            case LaunchState():
                return self._launch
            case PartRecord():
                return self._processes / f"{record.part}.json"


def _or_none(path: Path, model: type[Record]) -> Record | None:
    """A corrupt record counts as lost: what runs is found by its marker."""
    try:
        return read(path, model)
    except JournalCorrupt:
        return None
