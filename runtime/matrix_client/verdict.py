"""Is what one waits for there? A pure look at a stored object: done, on its way, or stuck until the user changes something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from matrix_crds.keys import ObjectKey
from matrix_crds.reasons import ClusterReason, DeploymentReason
from matrix_store.port import Raw, StoredObject

NEEDS_USER: Mapping[str, frozenset[str]] = {
    "MatrixCluster": frozenset(
        {
            ClusterReason.INVALID_SPEC,
            ClusterReason.NOT_SUPPORTED,
            ClusterReason.NAME_TAKEN,
            ClusterReason.INSUFFICIENT_RESOURCES,
            ClusterReason.IMAGE_PULL_FAILED,
            ClusterReason.SECRET_MISSING,
            ClusterReason.RAY_VERSION_MISMATCH,
            ClusterReason.RUNTIME_TOO_OLD,
            ClusterReason.PORT_TAKEN,
            ClusterReason.SUSPENDED,
        }
    ),
    "ModelDeployment": frozenset(
        {
            DeploymentReason.INVALID_SPEC,
            DeploymentReason.NOT_SUPPORTED,
            DeploymentReason.NAME_TAKEN,
            DeploymentReason.CLUSTER_NOT_FOUND,
            DeploymentReason.REJECTED_BY_SERVE,
            DeploymentReason.UNSCHEDULABLE,
            DeploymentReason.MODEL_NOT_FOUND,
            DeploymentReason.BAD_ARGUMENTS,
            DeploymentReason.OUT_OF_MEMORY,
        }
    ),
}
"""Reasons that stay until the user changes something: waiting on would be waiting for nothing."""


ROLLED_OUT: Mapping[str, tuple[str, ...]] = {
    "MatrixCluster": ("UpToDate", "Ready"),
    "ModelDeployment": ("UpToDate", "ReplicasReady"),
}
"""The conditions that say that a change of the spec has arrived, by kind."""
HELD_BACK = frozenset({ClusterReason.TEMPLATE_CHANGED})
"""Reasons of UpToDate=False that stay until the user asks for the change."""


class State(Enum):
    DONE = "done"
    WAITING = "waiting"
    STUCK = "stuck"


@dataclass(frozen=True)
class Verdict:
    """How far an object is from what one waits for."""

    state: State
    reason: str = ""
    """The condition's reason, "" when the controller has not spoken yet."""
    message: str = ""
    """What it waits for or what is wrong, in words."""
    since: datetime | None = None
    """When that began."""


def condition(raw: Raw, type_: str) -> Raw | None:
    """The condition of that type from an object's wire form."""
    return next((c for c in raw.get("status", {}).get("conditions", ()) if c.get("type") == type_), None)


def is_current(raw: Raw, found: Raw) -> bool:
    """Whether a condition speaks about the spec as it is now, not about an older one."""
    return int(found.get("observedGeneration") or raw["status"].get("observedGeneration", 0)) >= int(raw["metadata"]["generation"])


def moment(text: str | None) -> datetime | None:
    """A timestamp of the wire form (RFC 3339), or None."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def judge(stored: StoredObject, type_: str, wanted: str, others: Mapping[ObjectKey, StoredObject]) -> Verdict:
    """How far `stored` is from condition `type_` being `wanted`. `others` holds what it may depend on."""
    found = condition(stored.raw, type_)
    if found is None or not is_current(stored.raw, found):
        return Verdict(State.WAITING, "", "the controller to look at it", moment(stored.raw["metadata"].get("creationTimestamp")))
    reason, message = str(found.get("reason", "")), str(found.get("message", ""))
    since = moment(found.get("lastTransitionTime"))
    if found.get("status") == wanted:
        return Verdict(State.DONE, reason, message, since)
    if wanted == "True" and reason in NEEDS_USER.get(stored.key.kind, ()):
        return Verdict(State.STUCK, reason, message, since)
    return (
        _blocked_by_cluster(stored, others)
        if reason == DeploymentReason.CLUSTER_NOT_READY
        else Verdict(State.WAITING, reason, message, since)
    )


def judge_rollout(stored: StoredObject, others: Mapping[ObjectKey, StoredObject]) -> Verdict:
    """How far what runs is from what the spec says: up to date first, then all of it answering."""
    for type_ in ROLLED_OUT[stored.key.kind]:
        verdict = judge(stored, type_, "True", others)
        if verdict.reason in HELD_BACK:
            return replace(verdict, state=State.STUCK)
        if verdict.state is not State.DONE:
            return verdict
    replicas = stored.raw["status"].get("replicas") or {}
    too_many = int(replicas.get("ready", 0)) - int(replicas.get("desired", 0))
    if too_many > 0:
        return Verdict(State.WAITING, DeploymentReason.ROLLING_OUT, f"{too_many} too many; they finish their requests and go")
    return verdict


def _blocked_by_cluster(stored: StoredObject, others: Mapping[ObjectKey, StoredObject]) -> Verdict:
    """A deployment waits for its cluster: it is as stuck as the cluster is."""
    found = condition(stored.raw, "Ready") or {}
    waiting = Verdict(State.WAITING, str(found.get("reason", "")), str(found.get("message", "")), moment(found.get("lastTransitionTime")))
    cluster = others.get(ObjectKey("MatrixCluster", stored.key.namespace, stored.raw["spec"]["clusterRef"]["name"]))
    if cluster is None:
        return waiting
    verdict = judge(cluster, "Ready", "True", {})
    return (
        Verdict(State.STUCK, verdict.reason, f"{cluster.key}: {verdict.message}", verdict.since)
        if verdict.state is State.STUCK
        else waiting
    )
