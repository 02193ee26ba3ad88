"""Whether the replicas run what the spec says, and how far a rollout is. Pure.

A replica reports the version that it was started with (see `version_of`); Serve's own status says when it has replaced them all.
"""

from __future__ import annotations

from matrix_crds.deployment import DeploymentAllocation, DeploymentCondition, ModelDeployment
from matrix_crds.reasons import DeploymentReason
from matrix_operator.reconcile.conditions import FALSE, TRUE, UNKNOWN, Verdict
from matrix_operator.reconcile.selection import Refusal
from matrix_operator.reconcile.serving_view import answering, former, is_accepted, rejection, unheard, unseen, updated
from matrix_operator.reconcile.start_failures import start_failures
from matrix_operator.reconcile.view import ClusterView

_TYPE = DeploymentCondition.UP_TO_DATE


def up_to_date(
    deployment: ModelDeployment, view: ClusterView | None, refusal: Refusal | None, allocation: DeploymentAllocation | None
) -> Verdict:
    """The condition UpToDate."""
    if refusal:
        return Verdict(_TYPE, FALSE, refusal.reason, refusal.message)
    if view is None or view.cluster.deleting:
        return Verdict(_TYPE, UNKNOWN, DeploymentReason.CLUSTER_NOT_FOUND, "no cluster to run on")
    if view.serve is None:
        return Verdict(_TYPE, UNKNOWN, unseen(view), "not known before the cluster answers")
    if deployment.spec.replicas == 0:
        gone = view.application(deployment) is None
        return Verdict(_TYPE, TRUE if gone else FALSE, DeploymentReason.SCALED_TO_ZERO, "" if gone else "the last replicas are leaving")
    if not is_accepted(deployment, view):
        waiting = Verdict(_TYPE, FALSE, DeploymentReason.PENDING, "waiting for Ray Serve to take the configuration")
        return next(rejection(_TYPE, deployment, view), waiting)
    return _rolled_out(deployment, view, allocation)


def progress(deployment: ModelDeployment, view: ClusterView) -> str:
    """How far a rollout is, in words."""
    wanted = deployment.spec.replicas
    return f"{min(updated(deployment, view), wanted)} of {wanted} replicas updated"


def _rolled_out(deployment: ModelDeployment, view: ClusterView, allocation: DeploymentAllocation | None) -> Verdict:
    application = view.application(deployment)
    deploying = application is not None and application.status == "DEPLOYING"
    if deploying and view.state is None:
        return Verdict(_TYPE, UNKNOWN, unseen(view), "the replicas can't be seen while the directory does not answer")
    if former(deployment, view):
        rolling = Verdict(_TYPE, FALSE, DeploymentReason.ROLLING_OUT, progress(deployment, view))
        return next(start_failures(_TYPE, deployment, view, allocation), rolling)
    if deploying and (unheard(deployment, view) or len(answering(deployment, view)) >= deployment.spec.replicas):
        message = f"{progress(deployment, view)}; waiting for Ray Serve to finish"
        return Verdict(_TYPE, FALSE, DeploymentReason.ROLLING_OUT, message)
    return Verdict(_TYPE, TRUE, DeploymentReason.READY)
