"""Whether a cluster is to be made anew: because its template has changed, or because the user asks for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from matrix_crds.cluster import UpgradeType
from matrix_operator.reconcile.view import ClusterView


@dataclass(frozen=True)
class Renewal:
    """What runs is not what is declared."""

    why: str
    wanted: bool
    """It is to happen now; else it is held back."""


def pending_renewal(view: ClusterView) -> Renewal | None:
    """The renewal that is due, or None. Two values of restartedAt are only compared for being different: no clock is asked."""
    allocation, policy = view.cluster.status.allocation, view.cluster.spec.upgrade_policy
    if allocation is None or not view.template_hash:
        return None
    if policy.restarted_at is not None and policy.restarted_at != allocation.restarted_at:
        return Renewal(f"spec.upgradePolicy.restartedAt is {policy.restarted_at:%Y-%m-%d %H:%M:%S %Z}", wanted=True)
    if view.template_hash != allocation.template_hash:
        return Renewal("the head's or a group's template has changed", wanted=policy.type is UpgradeType.RECREATE)
    return None
