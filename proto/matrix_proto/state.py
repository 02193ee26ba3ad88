"""The contract between a cluster's runtime and its control plane: GET /matrix/v1/state, versioned and read-only.

`GET /matrix/v1/state?since=<revision>&wait=<seconds>` answers at once when the revision is not `since` (or `instance` has changed),
else when it changes, at the latest after `wait` seconds (at most 60). Replicas report themselves with POST /matrix/v1/replicas (one
Replica) each second, and with every change; the gateway does with POST /matrix/v1/gateway (one Gateway). All ask for `Authorization:
Bearer`: the state for either token, a report for Ray's.

Compatibility: fields are only added; a reader ignores what it does not know. `apiVersion` changes when that can't hold.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

STATE_PATH = "/matrix/v1/state"
REPLICAS_PATH = "/matrix/v1/replicas"
GATEWAY_PATH = "/matrix/v1/gateway"
TARGETS_PATH = "/matrix/v1/targets"
"""Read-only as the state, for Prometheus: where metrics are (matrix_runtime.system.targets)."""
HEALTH_PATH = "/matrix/v1/health"
API_VERSION = 1
APPLICATION_PREFIX = "mx-md-"
"""Before a ModelDeployment's name: the application that its replicas report."""
HEARTBEAT_SECONDS = 1.0
SUSPECT_AFTER_SECONDS = 3.0


class WireModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class ReplicaState(StrEnum):
    STARTING = "Starting"
    READY = "Ready"
    DRAINING = "Draining"
    FAILED = "Failed"


class StartPhase(StrEnum):
    """What a starting replica is doing."""

    PREPARING = "Preparing"  # importing the engine, checking its arguments
    DOWNLOADING = "Downloading"
    CONVERTING = "Converting"
    LOADING = "Loading"


class FailureReason(StrEnum):
    """Why a start failed. The names are those of DeploymentReason."""

    MODEL_NOT_FOUND = "ModelNotFound"
    BAD_ARGUMENTS = "BadArguments"
    OUT_OF_MEMORY = "OutOfMemory"
    START_FAILED = "StartFailed"


class StartFailure(WireModel):
    reason: FailureReason
    message: str
    """One line in plain words."""
    lines: tuple[str, ...] = ()
    """The last lines of the engine's own output."""


class Progress(WireModel):
    """`done` of `total` in `unit` (bytes, parameters, ...); total None when it is not known."""

    done: int
    total: int | None = None
    unit: str = "bytes"


class Load(WireModel):
    """How busy a replica is."""

    ongoing: int = 0
    """Requests that were accepted and not answered yet, over both transports."""
    waiting: int = 0
    """Of those, not yet taken up by the engine."""
    cache_use: float = 0.0
    """Part of the engine's KV cache in use, 0 to 1."""


class Replica(WireModel):
    """A replica, as it reports itself."""

    id: str
    """Serve's replica id, unique within the cluster."""
    application: str
    """APPLICATION_PREFIX and the ModelDeployment's name."""
    model: str
    """The served name."""
    version: str = ""
    """The version in the arguments that it was started with: the control plane tells by it which replicas run what is declared now."""
    attempt: int = 1
    state: ReplicaState
    phase: StartPhase | None = None
    progress: Progress | None = None
    message: str = ""
    """What it is doing, in words."""
    since: datetime
    """When this state or phase began (the replica's clock)."""
    pid: int
    http_url: str | None = None
    """Where its OpenAI HTTP app listens, once it is ready."""
    grpc_address: str | None = None
    """host:port of its Inference service (inference.proto), once it is ready."""
    failure: StartFailure | None = None
    load: Load = Load()


class ReplicaView(Replica):
    """A replica as the directory knows it."""

    heartbeat_age: float = 0.0
    """Seconds since its last report."""
    suspect: bool = False
    """It missed three reports: probe before use. Not gone."""


class Gateway(WireModel):
    """The gateway, as it reports itself: with each change and each second, by POST to GATEWAY_PATH."""

    ready: bool
    message: str = ""
    """What it waits for or what is wrong, in words; empty when it is ready."""
    url: str = ""
    """Where it listens, without /v1."""
    pid: int = 0
    """Of the process that moves the bytes."""


class GatewayView(Gateway):
    """The gateway as the directory knows it."""

    heartbeat_age: float = 0.0
    """Seconds since its last report."""


class State(WireModel):
    api_version: int = API_VERSION
    runtime_version: str
    ray_version: str
    session_name: str = ""
    instance: str
    """Changes whenever the directory was started anew: its memory is empty until the replicas have reported (2 s)."""
    revision: int
    """Goes up whenever a replica comes, goes, or changes (not by heartbeats)."""
    replicas: tuple[ReplicaView, ...] = Field(default=())
    gateway: GatewayView | None = None
    """None until it has reported."""
