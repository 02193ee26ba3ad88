"""How far a cluster's end is, and what is to be deleted next. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay.names import (
    Object,
    api_keys_secret,
    client_token_secret,
    gateway_service,
    is_ours,
    ray_token_secret,
)
from matrix_operator.backends.kuberay.reading import at, count, is_ending, items, moment, name_of
from matrix_operator.backends.kuberay.sight import Sight, listed
from matrix_operator.backends.port import Removal, RemovalState

GRACE_SECONDS = 10
"""How long the pods of a cluster that ends may take: for what runs on them there is no other place, so nothing is drained."""
OVERDUE = timedelta(seconds=60)
"""A pod that is still there so long after its grace is over has a machine that does not answer."""


@dataclass(frozen=True)
class Teardown:
    """One step towards nothing being left."""

    removal: Removal
    delete: Object | None = None
    """The RayCluster to delete now, under the precondition of its uid: one that has taken its place in between stays."""
    hasten: tuple[Object, ...] = ()
    """Pods that would take longer than GRACE_SECONDS: each waits to be drained (for minutes, where the head is gone that would do it)."""


def teardown(cluster: MatrixCluster, sight: Sight, now: datetime) -> Teardown:
    """Gone only when the pods are: they outlive the RayCluster. What is not ours is not touched, and does not count."""
    live = sight.ray_cluster
    if live is not None and is_ours(live, cluster):
        if not is_ending(live):
            return Teardown(Removal(RemovalState.GOING, "the RayCluster is being deleted"), delete=live)
        held = ", ".join(at(live, "metadata", "finalizers") or ())
        return Teardown(Removal(RemovalState.GOING, f"the RayCluster is being deleted{f'; it is held by {held}' if held else ''}"))
    if sight.pods:
        slow = tuple(
            pod for pod in sight.pods if not is_ending(pod) or count(pod, "metadata", "deletionGracePeriodSeconds") > GRACE_SECONDS
        )
        return Teardown(Removal(RemovalState.GOING, _lingering(sight.pods, now)), hasten=slow)
    return Teardown(Removal(RemovalState.GONE))


def companions(cluster: MatrixCluster) -> tuple[tuple[str, str], ...]:
    """(kind, name) of what else is ours: deleted after the pods with the MatrixCluster; kept while the cluster is only made anew."""
    return (
        ("Service", gateway_service(cluster)),
        ("Secret", api_keys_secret(cluster)),
        ("Secret", client_token_secret(cluster)),
        ("Secret", ray_token_secret(cluster)),
    )


def still_owned(cluster: MatrixCluster, found: Iterable[Object]) -> list[Object]:
    """Those that the garbage collector would delete after the MatrixCluster. Under deletionPolicy Orphan the object may only be let go
    when there is none."""
    uid = cluster.metadata.uid
    return [item for item in found if any(owner.get("uid") == uid for owner in items(item, "metadata", "ownerReferences"))]


def _lingering(pods: tuple[Object, ...], now: datetime) -> str:
    overdue = [pod for pod in pods if _is_overdue(pod, now)]
    if not overdue:
        return f"{len(pods)} pod{'s are' if len(pods) > 1 else ' is'} ending: {listed(pods)}"
    pod = overdue[0]
    name, machine = name_of(pod), at(pod, "spec", "nodeName") or "unknown"
    force = f"kubectl delete pod {name} -n {pod['metadata'].get('namespace', '')} --force --grace-period=0"
    return f"the pod {name} should have ended: its machine {machine} does not answer. Once that machine is off for sure: {force}"


def _is_overdue(pod: Object, now: datetime) -> bool:
    over = moment(at(pod, "metadata", "deletionTimestamp"))
    return over is not None and now - over > OVERDUE
