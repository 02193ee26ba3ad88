"""What a look at a cluster says of one deployment on it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from matrix_crds.deployment import ModelDeployment
from matrix_crds.reasons import DeploymentReason
from matrix_operator.reconcile.conditions import FALSE, Verdict
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import REPLICA_DEPLOYMENT, entry_hash, model_entry, version_of
from matrix_proto.state import ReplicaState, ReplicaView


def is_accepted(deployment: ModelDeployment, view: ClusterView) -> bool:
    """Serve has the entry that is declared now."""
    application = view.application(deployment)
    if application is None or view.layout is None:
        return False
    return application.deployed_app_config == model_entry(deployment, view.layout)


def rejection(type_: StrEnum, deployment: ModelDeployment, view: ClusterView) -> Iterator[Verdict]:
    """What Serve said when it refused the entry as it is declared now; nothing if it did not."""
    text = view.rejections.get(entry_hash(model_entry(deployment, view.layout))) if view.layout else None
    if text:
        yield Verdict(type_, FALSE, DeploymentReason.REJECTED_BY_SERVE, f"Ray Serve refused the configuration: {text}")


def unseen(view: ClusterView) -> DeploymentReason:
    """Why the inside of a cluster can't be seen: it is not up, or it does not answer although it should."""
    ready = view.cluster.status.condition("Ready")
    up = ready is not None and ready.status is not FALSE
    return DeploymentReason.STATE_UNKNOWN if up else DeploymentReason.CLUSTER_NOT_READY


def answering(deployment: ModelDeployment, view: ClusterView) -> tuple[ReplicaView, ...]:
    """The replicas that take requests, of whatever version. One that drains does not count, nor one that has fallen silent."""
    return tuple(replica for replica in view.replicas(deployment) if replica.state is ReplicaState.READY and not replica.suspect)


def updated(deployment: ModelDeployment, view: ClusterView) -> int:
    """How many replicas answer and run what the spec says."""
    if view.layout is None:
        return 0
    wanted = version_of(deployment, view.layout)
    return sum(1 for replica in answering(deployment, view) if replica.version == wanted)


def former(deployment: ModelDeployment, view: ClusterView) -> int:
    """How many replicas answer, or come up, with what the spec said before."""
    if view.layout is None:
        return 0
    wanted = version_of(deployment, view.layout)
    lives = (ReplicaState.STARTING, ReplicaState.READY)
    replicas = (replica for replica in view.replicas(deployment) if replica.state in lives and not replica.suspect)
    return sum(1 for replica in replicas if replica.version != wanted)


def unheard(deployment: ModelDeployment, view: ClusterView) -> int:
    """How many replicas run according to Serve and have not told the directory yet, which has just started itself."""
    application = view.application(deployment)
    serving = application.deployments.get(REPLICA_DEPLOYMENT) if application else None
    known = {replica.id for replica in view.replicas(deployment)}
    return sum(1 for replica in serving.replicas if replica.state == "RUNNING" and replica.replica_id not in known) if serving else 0
