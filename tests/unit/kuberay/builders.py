"""Clusters, RayClusters, pods and events as an API server has them, with what a test does not care for filled in."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from matrix_crds.cluster import Allocation, AllocationKind, MatrixCluster
from matrix_operator.backends.kuberay.names import Object, own_labels
from matrix_operator.backends.kuberay.render import ray_cluster
from matrix_operator.backends.kuberay.settings import Accelerator, KubeRaySettings
from matrix_operator.backends.kuberay.template import template_hash

UID = "11111111-2222-3333-4444-555555555555"
START = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
NOW = START + timedelta(minutes=10)
SETTINGS = KubeRaySettings(
    image="example.org/matrix:0.1.0",
    image_pull_secrets=("registry",),
    accelerators={
        "H100": Accelerator({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}),
        "MI300X": Accelerator({"amd.com/gpu.product-name": "MI300X"}, resource="amd.com/gpu"),
    },
)


def wire(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def after(seconds: float) -> str:
    """So long after the RayCluster was made."""
    return wire(START + timedelta(seconds=seconds))


def cluster(spec: dict[str, Any] | None = None, **metadata: Any) -> MatrixCluster:
    base = {"name": "lab", "namespace": "team", "uid": UID, "generation": 1, "creationTimestamp": wire(START)}
    return MatrixCluster.model_validate({"metadata": base | metadata, "spec": spec or {}})


def allocation(of: MatrixCluster) -> Allocation:
    return Allocation(kind=AllocationKind.RAY_CLUSTER, name=of.metadata.name, template_hash=template_hash(of.spec))


def live(of: MatrixCluster, *, status: Object | None = None, **spec: Any) -> Object:
    """The RayCluster of a cluster, as it is read back."""
    made = deepcopy(ray_cluster(of, SETTINGS, allocation(of)))
    write = {"manager": "matrix", "time": after(0), "fieldsV1": {"f:spec": {}}}
    server = {"uid": "ray-1", "resourceVersion": "7", "generation": 2, "creationTimestamp": after(0), "managedFields": [write]}
    made["metadata"] |= server
    made["spec"] |= spec
    return made | ({"status": status} if status is not None else {})


def condition(type_: str, status: str = "True", reason: str = "", message: str = "", seconds: float = 30) -> Object:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": after(seconds)}


def pod(
    name: str = "lab-head-x",
    *,
    group: str = "",
    ready: bool = True,
    made: float = 1,
    started: float | None = None,
    **fields: Any,
) -> Object:
    """A head's pod, or a worker's with `group`; `fields` replaces parts of its status."""
    labels = {"ray.io/cluster": "lab", "ray.io/node-type": "worker" if group else "head", "ray.io/group": group or "headgroup"}
    begun = after(made + 1 if started is None else started)
    running = {"name": "ray-worker" if group else "ray-head", "ready": ready, "restartCount": 0, "state": {"running": {"startedAt": begun}}}
    conditions = [
        condition("PodScheduled"),
        condition("ContainersReady", str(ready), "" if ready else "ContainersNotReady"),
        condition("Ready", str(ready), "" if ready else "ContainersNotReady", seconds=made + 20),
    ]
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": [running]} | fields
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": "1", "creationTimestamp": after(made)}
    return {"metadata": metadata | {"labels": labels | own_labels(cluster())}, "spec": {"nodeName": "node-1"}, "status": status}


def ending(of: Object, seconds: float = 590, grace: int = 30) -> Object:
    """The pod, asked to go so long after the start: its deletionTimestamp is when the grace is over."""
    deletion = {"deletionTimestamp": after(seconds + grace), "deletionGracePeriodSeconds": grace}
    return of | {"metadata": of["metadata"] | deletion}


def event(reason: str = "InvalidRayClusterSpec", seconds: float = 1, message: str = "", **fields: Any) -> Object:
    text = message or "The RayCluster spec is invalid team/lab: worker group w has minReplicas 9 greater than maxReplicas 3"
    about = {"kind": "RayCluster", "name": "lab", "namespace": "team", "uid": "ray-1"}
    base = {"metadata": {"name": "lab.1", "creationTimestamp": after(seconds)}, "type": "Warning", "reason": reason}
    return base | {"involvedObject": about, "message": text, "lastTimestamp": after(seconds)} | fields
