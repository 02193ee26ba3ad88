"""The port of a backend: what carries a cluster (processes, a RayCluster, Slurm jobs). Above Ray's REST API all of them are the same."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_operator.looks import Look


class NodePhase(StrEnum):
    """How far a node has come, as the backend sees it (not Ray)."""

    STARTING = "Starting"
    RUNNING = "Running"
    RECOVERING = "Recovering"  # a part of it died and is being started again
    FAILED = "Failed"  # does not come up by itself: `reason` says why


@dataclass(frozen=True)
class NodeState:
    """One node: the head, or a worker of a group."""

    name: str
    phase: NodePhase
    since: datetime
    reason: ClusterReason | None = None
    message: str = ""
    """What it waits for or why it failed, in words for a person."""


@dataclass(frozen=True)
class Observation:
    """What the backend has for a cluster."""

    allocation: Allocation
    head: NodeState
    workers: tuple[NodeState, ...] = ()
    wanted_workers: int | None = None
    """How many there are to be now, where something else than the spec alone decides it (an autoscaler, a change that is held back); None:
    what the spec says."""


@dataclass(frozen=True)
class PublicAddress:
    """Where users find a cluster: its status tells them."""

    gateway_url: str
    """Where the gateway answers, without /v1."""
    directory_address: str
    """host:port of mx-system's Directory service (directory.proto)."""
    dashboard_url: str
    """Ray's REST API, such as http://127.0.0.1:40001."""
    state_url: str
    """Where mx-system serves /matrix/v1/state."""
    scope: EndpointScope
    """From where all of this can be reached."""


@dataclass(frozen=True)
class RayAddress:
    """How the controller reaches a cluster; that may be another way than the users'."""

    dashboard_url: str
    state_url: str
    ray_token: str = field(repr=False)
    client_token: str = field(repr=False)
    public: PublicAddress


@dataclass(frozen=True)
class RuntimeLayout:
    """Where the runtime finds things inside the cluster: rendered into the Serve config, so no secret is in it."""

    state_port: int
    """The port that mx-system binds on the head."""
    state_url: str
    """How replicas reach it from inside."""
    directory_port: int
    """The port of the directory's gRPC service on the head."""
    gateway_port: int
    """The port of the gateway on the head."""
    bind_host: str
    """The address that servers of ours bind: 127.0.0.1 on one machine."""
    secrets_dir: str
    """Holds the files `ray-token` and `client-token`."""
    model_cache_dir: str
    credentials_dir: str | None = None
    """Holds a file for each key of the user's own; None: the environment has them."""


class RemovalState(StrEnum):
    GONE = "Gone"  # confirmed: nothing of the cluster is left
    GOING = "Going"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Removal:
    state: RemovalState
    message: str = ""
    """What is still there, or why it is not known."""


class BackendRefusal(Exception):
    """The backend can't do what the spec asks, until the user changes something. Carries the condition's reason and message."""

    def __init__(self, reason: ClusterReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ClusterBackend(Protocol):
    """Idempotent, safe to call again after a kill at any point. Every external thing carries the owner's uid."""

    async def observe(self, cluster: MatrixCluster) -> Look[Observation]:
        """Look only: no side effects."""
        ...

    async def pulse(self, cluster: MatrixCluster) -> Hashable:
        """Asked each second: a cheap value that changes when something that `observe` saw has changed. Wrong alarms are harmless;
        what it does not feel is found at the next look."""
        ...

    def allocation_name(self, cluster: MatrixCluster) -> str:
        """What carries the cluster is found by that name: status.allocation tells it."""
        ...

    def template_hash(self, cluster: MatrixCluster) -> str:
        """A hash of what can't change without making nodes anew."""
        ...

    async def ensure(self, cluster: MatrixCluster, desired: Allocation) -> None:
        """One step towards the desired state: start what is missing, start again what died. Returns soon; `observe` tells the
        progress. Raises BackendRefusal."""
        ...

    async def remove(self, cluster: MatrixCluster) -> Removal:
        """One step towards nothing being left, called until it says Gone. Of a cluster that is not being deleted, only made anew, its
        tokens and the keys that were issued for it stay."""
        ...

    async def let_go(self, cluster: MatrixCluster) -> Removal:
        """One step towards the cluster outliving its object (deletionPolicy Orphan), called until it says Gone: nothing would follow."""
        ...

    async def address(self, cluster: MatrixCluster) -> RayAddress | None:
        """How to reach Ray from here; None while that is not decided yet."""
        ...

    async def layout(self, cluster: MatrixCluster) -> RuntimeLayout | None:
        """Where the runtime finds things; None while that is not decided yet."""
        ...
