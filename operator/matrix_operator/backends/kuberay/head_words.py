"""What is added to what is told of a head that is not up: what went with a former one, and why it may be slow. Pure."""

from __future__ import annotations

from dataclasses import replace

from matrix_crds import quantity
from matrix_crds.cluster import MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.reading import annotation, at, condition, created, is_ending, items, moment
from matrix_operator.backends.kuberay.volumes import GCS_DIRECTORY
from matrix_operator.backends.port import NodePhase, NodeState

LOSS = "Ray's state went with the former head, so the models start again"
FEW_CPUS = 1
"""Cores. Ray gives its own processes 30 s to come up, which can't be set, and then ends; with less than one core that is little."""
FT_ANNOTATION = "ray.io/ft-enabled"
"""KubeRay's older way to say that the GCS keeps its tables in a database (GcsFTOptions)."""


def told_of_head(cluster: MatrixCluster, live: Object, pod: Object, state: NodeState) -> NodeState:
    """The state with what is to be added to its message."""
    if state.phase is NodePhase.RUNNING or is_ending(pod):
        return state
    added = [*([LOSS] if _has_lost(live, pod, state) else []), *([_slow(cluster)] if _is_slow(cluster, pod, state) else [])]
    return replace(state, message="; ".join((state.message, *added))) if added else state


def _has_lost(live: Object, pod: Object, state: NodeState) -> bool:
    """Whether the pod took the place of one in which the tables of the GCS were, and comes up for the first time: afterwards it has
    tables of its own, which outlive its container. One whose machine is silent had come up."""
    if state.phase is not NodePhase.RECOVERING or state.reason is ClusterReason.NODE_LOST:
        return False
    ready_once = condition(live, "RayClusterProvisioned") or {}
    provisioned = moment(ready_once.get("lastTransitionTime")) if ready_once.get("status") == "True" else None
    return provisioned is not None and created(pod) > provisioned and not _was_up(pod) and not _keeps_its_state(live)


def _was_up(pod: Object) -> bool:
    """The kubelet sets Initialized and Ready=False together at first; a Ready=False that is later came after a True."""
    initialized, ready = (moment((condition(pod, type_) or {}).get("lastTransitionTime")) for type_ in ("Initialized", "Ready"))
    return initialized is not None and ready is not None and ready > initialized


def _keeps_its_state(live: Object) -> bool:
    """Somebody has given the RayCluster a database, or a volume that outlives its pods."""
    if at(live, "spec", "gcsFaultToleranceOptions") or annotation(live, FT_ANNOTATION) == "true":
        return True
    spec = ("spec", "headGroupSpec", "template", "spec")
    mounts = [mount for container in items(live, *spec, "containers") for mount in items(container, "volumeMounts")]
    name = next((mount["name"] for mount in mounts if mount.get("mountPath") == GCS_DIRECTORY), None)
    volume = next((volume for volume in items(live, *spec, "volumes") if volume["name"] == name), None)
    return volume is not None and "emptyDir" not in volume


def _is_slow(cluster: MatrixCluster, pod: Object, state: NodeState) -> bool:
    """Its containers were started, and it has little to do it with."""
    begun = any(
        "waiting" not in (status.get("state") or {}) or status.get("lastState") for status in items(pod, "status", "containerStatuses")
    )
    mild = state.reason in (None, ClusterReason.RECOVERING, ClusterReason.START_FAILED)
    return begun and mild and quantity.parse(cluster.spec.head.resources.cpu) < FEW_CPUS


def _slow(cluster: MatrixCluster) -> str:
    cpu = cluster.spec.head.resources.cpu
    return f"with {cpu} of a CPU it may need several starts, since Ray gives each 30 s; raise spec.head.resources.cpu to 1 or more"
