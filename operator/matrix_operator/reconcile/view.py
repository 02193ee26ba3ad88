"""What one look at a cluster found. The cluster's reconciler makes it; its deployments' reconcilers read it from memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from matrix_crds.cluster import MatrixCluster
from matrix_crds.deployment import ModelDeployment
from matrix_crds.worker_numbers import fixed_number
from matrix_operator.backends.port import NodePhase, Observation, RayAddress, RuntimeLayout
from matrix_operator.looks import Absent, Look, Present, Unknown
from matrix_operator.ray_rest import RayNode, RayVersion, ServeApplication, ServeDetails
from matrix_operator.reconcile.selection import Selection, select
from matrix_operator.serve_config import SYSTEM_APPLICATION, application_name, entry_hash, model_entry, name_holders
from matrix_proto.state import APPLICATION_PREFIX, ReplicaView, State


@dataclass(frozen=True)
class RayLooks:
    """What Ray and the runtime inside it say."""

    version: Present[RayVersion] | Unknown
    nodes: Present[tuple[RayNode, ...]] | Unknown
    serve: Present[ServeDetails] | Unknown
    state: Present[State] | Unknown


@dataclass(frozen=True)
class ClusterView:
    """A cluster and everything that was seen of it."""

    cluster: MatrixCluster
    backend: Look[Observation]
    allocation_name: str = ""
    template_hash: str = ""
    address: RayAddress | None = None
    layout: RuntimeLayout | None = None
    ray: RayLooks | None = None
    """None while there is no Ray to ask."""
    deployments: tuple[ModelDeployment, ...] = ()
    """All that target the cluster and parse, deleted ones left out."""
    unreadable: frozenset[str] = frozenset()
    """Names of deployments that target the cluster and do not parse: what Serve has of them stays."""
    rejections: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What Serve said of the entries that it refused, by the hash of the entry: an edited one is tried again."""

    def with_ray(self, ray: RayLooks) -> ClusterView:
        return replace(self, ray=ray)

    def with_cluster(self, cluster: MatrixCluster) -> ClusterView:
        return replace(self, cluster=cluster)

    def with_deployment(self, deployment: ModelDeployment) -> ClusterView:
        """The same look, with this deployment as it is now."""
        others = (item for item in self.deployments if item.key != deployment.key)
        return replace(self, deployments=(*others, deployment))

    def concerning(self, deployment: ModelDeployment) -> tuple[object, ...]:
        """What a deployment's status depends on: it wants a look when this changes."""
        readable = self.serve is None, self.state is None
        ready = self.cluster.status.condition("Ready")
        application, replicas = self.application(deployment), self.replicas(deployment)
        where, refusal = (self.address, self.layout), self.selection.refused.get(deployment.key)
        return self.cluster.deleting, ready, readable, where, self.nodes, self.rejections, refusal, application, replicas

    @property
    def observation(self) -> Observation | None:
        return self.backend.state if isinstance(self.backend, Present) else None

    @property
    def head_running(self) -> bool:
        return self.observation is not None and self.observation.head.phase is NodePhase.RUNNING

    @property
    def dashboard_answers(self) -> bool:
        return self.ray is not None and isinstance(self.ray.version, Present)

    @property
    def backend_absent(self) -> bool:
        return isinstance(self.backend, Absent)

    @property
    def serve(self) -> ServeDetails | None:
        return self.ray.serve.state if self.ray and isinstance(self.ray.serve, Present) else None

    @property
    def state(self) -> State | None:
        return self.ray.state.state if self.ray and isinstance(self.ray.state, Present) else None

    @cached_property
    def selection(self) -> Selection:
        """Which of the deployments are served, and why the others are not."""
        system = self.serve.applications.get(SYSTEM_APPLICATION) if self.serve else None
        return select(self.deployments, name_holders(system.deployed_app_config if system else None), self.staying)

    @cached_property
    def staying(self) -> frozenset[str]:
        """The applications that stay as Serve has them, whatever is declared: that can't be read, or Serve has refused it."""
        unreadable = frozenset(APPLICATION_PREFIX + name for name in self.unreadable)
        if self.layout is None or not self.rejections:
            return unreadable
        layout, rejections = self.layout, self.rejections
        rejected = (item for item in self.deployments if entry_hash(model_entry(item, layout)) in rejections)
        return unreadable.union(map(application_name, rejected))

    @property
    def nodes(self) -> tuple[RayNode, ...] | None:
        """The nodes that are alive, or None when that is not known."""
        if self.ray is None or not isinstance(self.ray.nodes, Present):
            return None
        return tuple(node for node in self.ray.nodes.state if node.alive)

    @property
    def wanted_workers(self) -> int:
        """How many there are to be now."""
        if self.cluster.spec.suspend:
            return 0
        if self.observation is not None and self.observation.wanted_workers is not None:
            return self.observation.wanted_workers
        return sum(group.autoscale.min if group.autoscale else fixed_number(group) for group in self.cluster.spec.worker_groups)

    @property
    def workers_complete(self) -> bool:
        """Every node that there can ever be is alive in Ray: what no node has now, none will have."""
        most = sum(group.autoscale.max if group.autoscale else fixed_number(group) for group in self.cluster.spec.worker_groups)
        return self.nodes is not None and len(self.nodes) >= most + 1

    def application(self, deployment: ModelDeployment) -> ServeApplication | None:
        return self.serve.applications.get(application_name(deployment)) if self.serve else None

    def replicas(self, deployment: ModelDeployment) -> tuple[ReplicaView, ...]:
        """What the directory knows of the deployment's replicas."""
        name = application_name(deployment)
        return tuple(replica for replica in self.state.replicas if replica.application == name) if self.state else ()
