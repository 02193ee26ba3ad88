"""Objects and views for the tests of the reconcile core, with what a test does not care for filled in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from matrix_crds.cluster import Allocation, AllocationKind, MatrixCluster
from matrix_crds.constants import FINALIZER
from matrix_crds.deployment import ModelDeployment
from matrix_operator.backends.fake import loopback_address
from matrix_operator.backends.port import NodePhase, NodeState, Observation, RuntimeLayout
from matrix_operator.looks import Look, Present
from matrix_operator.ray_rest import RayNode, RayVersion, ServeApplication, ServeDetails
from matrix_operator.reconcile.view import ClusterView, RayLooks
from matrix_operator.serve_config import application_name, model_entry, system_entry, version_of
from matrix_proto.state import GatewayView, Replica, ReplicaState, ReplicaView, State

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
BEFORE = datetime(2026, 6, 1, 11, 0, tzinfo=UTC)
LAYOUT = RuntimeLayout(
    state_port=9000,
    state_url="http://127.0.0.1:9000",
    directory_port=9001,
    gateway_port=9002,
    bind_host="127.0.0.1",
    secrets_dir="/secrets",
    model_cache_dir="/models",
)
ADDRESS = loopback_address("http://127.0.0.1:8265", "http://127.0.0.1:9000")
ALLOCATION = Allocation(kind=AllocationKind.LOCAL_PROCESSES, name="lab-uid", template_hash="h1", started_at=BEFORE)


def cluster(spec: dict[str, Any] | None = None, *, allocated: bool = True, finalizer: bool = True, deleting: bool = False) -> MatrixCluster:
    metadata = {
        "name": "lab",
        "uid": "c" * 32,
        "generation": 1,
        "resourceVersion": "5",
        "creationTimestamp": BEFORE.isoformat(),
        "finalizers": [FINALIZER] if finalizer else [],
        "deletionTimestamp": NOW.isoformat() if deleting else None,
    }
    status = {"allocation": ALLOCATION.to_wire()} if allocated else {}
    return MatrixCluster.model_validate({"metadata": metadata, "spec": spec or {}, "status": status})


def deployment(name: str = "m", spec: dict[str, Any] | None = None, *, created: datetime = BEFORE, **status: Any) -> ModelDeployment:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1", "creationTimestamp": created.isoformat()}
    body = {"clusterRef": {"name": "lab"}, "model": {"source": "file:///models/m"}, "engine": {"dummy": {}}, **(spec or {})}
    return ModelDeployment.model_validate({"metadata": metadata, "spec": body, "status": {"observedGeneration": 1, **status}})


def running(phase: NodePhase = NodePhase.RUNNING) -> Present[Observation]:
    return Present(Observation(allocation=ALLOCATION, head=NodeState("head", phase, BEFORE)))


def accepted(*deployments: ModelDeployment, status: str = "RUNNING") -> dict[str, ServeApplication]:
    entries = {"mx-system": system_entry(LAYOUT, deployments)} | {application_name(item): model_entry(item, LAYOUT) for item in deployments}
    states = {name: "RUNNING" if name == "mx-system" else status for name in entries}
    return {name: ServeApplication(name=name, status=states[name], deployed_app_config=entry) for name, entry in entries.items()}


def replica(item: ModelDeployment, state: ReplicaState = ReplicaState.READY, **fields: Any) -> ReplicaView:
    base = Replica(
        id=f"{item.metadata.name}-1",
        application=application_name(item),
        model=item.served_name,
        version=version_of(item, LAYOUT),
        state=state,
        since=BEFORE,
        pid=1,
        http_url="http://127.0.0.1:1234" if state is ReplicaState.READY else None,
    )
    return ReplicaView.model_validate(base.model_dump() | fields)


ANSWERING = GatewayView(ready=True, url="http://127.0.0.1:9002")


def state(*replicas: ReplicaView, runtime_version: str = "0.1.0", gateway: GatewayView | None = ANSWERING) -> Present[State]:
    about = State(runtime_version=runtime_version, ray_version="2.60.0", instance="i", revision=1)
    return Present(about.model_copy(update={"replicas": replicas, "gateway": gateway}))


def ray(
    applications: dict[str, ServeApplication],
    *replicas: ReplicaView,
    cpus: float = 8.0,
    **looks: Any,
) -> RayLooks:
    node = RayNode(node_id="n", state="ALIVE", is_head_node=True, resources_total={"CPU": cpus, "memory": 16.0 * 2**30})
    parts = {
        "version": Present(RayVersion(ray_version="2.60.0", session_name="s")),
        "nodes": Present((node,)),
        "serve": Present(ServeDetails(proxy_location="Disabled", applications=applications)),
        "state": state(*replicas),
    }
    return RayLooks(**(parts | looks))


def view(of: MatrixCluster | None = None, backend: Look[Observation] | None = None, **fields: Any) -> ClusterView:
    defaults: dict[str, Any] = {"template_hash": "h1", "address": ADDRESS, "layout": LAYOUT}
    return ClusterView(cluster=of or cluster(), backend=backend or running(), **(defaults | fields))
