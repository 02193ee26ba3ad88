"""A backend in memory, for tests and benches of what lies above the port. Its clusters come up and go when told to, or at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from matrix_crds.base import EndpointScope
from matrix_crds.cluster import Allocation, MatrixCluster
from matrix_crds.worker_numbers import fixed_number
from matrix_operator.backends.port import (
    BackendRefusal,
    NodePhase,
    NodeState,
    Observation,
    PublicAddress,
    RayAddress,
    Removal,
    RemovalState,
    RuntimeLayout,
)
from matrix_operator.looks import Absent, Look, Present, Unknown

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def loopback_address(dashboard_url: str, state_url: str) -> RayAddress:
    """Of a cluster that a test serves on this machine; nothing answers at the gateway and the directory."""
    public = PublicAddress("http://127.0.0.1:9002", "127.0.0.1:9001", dashboard_url, state_url, EndpointScope.MACHINE)
    return RayAddress(dashboard_url, state_url, "ray-token", "client-token", public)


@dataclass
class FakeBackend:
    """Set the fields to steer it; `calls` tells what was asked of it, as "ensure NAME" and "remove NAME"."""

    address_of: RayAddress | None = None
    """`{name}` in its URLs becomes the cluster's name."""
    phase: NodePhase = NodePhase.RUNNING
    """Of the nodes of every cluster that was ensured."""
    blind: str = ""
    """Not empty: every look is Unknown with this message."""
    refusal: BackendRefusal | None = None
    removal: RemovalState = RemovalState.GONE
    running: dict[str, Observation] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    async def observe(self, cluster: MatrixCluster) -> Look[Observation]:
        if self.blind:
            return Unknown(self.blind)
        observation = self.running.get(cluster.metadata.uid)
        if observation is None:
            return Absent()
        return Present(replace(observation, head=replace(observation.head, phase=self.phase)))

    async def pulse(self, cluster: MatrixCluster) -> Hashable:
        return self.blind, self.phase, cluster.metadata.uid in self.running

    def allocation_name(self, cluster: MatrixCluster) -> str:
        return f"{cluster.metadata.name}-{cluster.metadata.uid[:8]}"

    def template_hash(self, cluster: MatrixCluster) -> str:
        head = json.dumps(cluster.spec.head.to_wire(), sort_keys=True)
        return hashlib.sha256(head.encode()).hexdigest()[:8]

    async def ensure(self, cluster: MatrixCluster, desired: Allocation) -> None:
        self.calls.append(f"ensure {cluster.metadata.name}")
        if self.refusal:
            raise self.refusal
        head = NodeState(name="head", phase=self.phase, since=EPOCH)
        workers = tuple(
            NodeState(name=f"{group.name}-{index}", phase=self.phase, since=EPOCH)
            for group in cluster.spec.worker_groups
            for index in range(fixed_number(group))
        )
        self.running[cluster.metadata.uid] = Observation(allocation=desired, head=head, workers=workers)

    async def remove(self, cluster: MatrixCluster) -> Removal:
        self.calls.append(f"remove {cluster.metadata.name}")
        if self.removal is RemovalState.GONE:
            self.running.pop(cluster.metadata.uid, None)
        return Removal(self.removal)

    async def let_go(self, cluster: MatrixCluster) -> Removal:
        self.calls.append(f"let go {cluster.metadata.name}")
        return Removal(self.removal)

    async def address(self, cluster: MatrixCluster) -> RayAddress | None:
        if self.address_of is None:
            return None
        name = cluster.metadata.name
        urls = {url: getattr(self.address_of, url).format(name=name) for url in ("dashboard_url", "state_url")}
        return replace(self.address_of, **urls)

    async def layout(self, cluster: MatrixCluster) -> RuntimeLayout | None:
        if self.address_of is None:
            return None
        return RuntimeLayout(
            state_port=9000,
            state_url=self.address_of.state_url,
            directory_port=9001,
            gateway_port=9002,
            bind_host="127.0.0.1",
            secrets_dir="/secrets",
            model_cache_dir="/models",
        )
