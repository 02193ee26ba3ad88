"""Why replicas do not come up, in the engine's own words, and when it is tried again. Pure.

The replica's last word is in the directory. When that has forgotten it, by a restart of its own, Serve's message of the failed start
still holds the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum

from matrix_crds.deployment import DeploymentAllocation, ModelDeployment
from matrix_crds.reasons import DeploymentReason
from matrix_operator.ray_rest import ServeApplication
from matrix_operator.reconcile.conditions import FALSE, Verdict
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import version_of
from matrix_proto.state import FailureReason, ReplicaView, StartFailure

LINES_SHOWN = 8

FIRST_RETRY = timedelta(seconds=10)
LAST_RETRY = timedelta(minutes=10)

SERVE_GAVE_UP = {"DEPLOY_FAILED": True, "UNHEALTHY": False, "RUNNING": False, "DEPLOYING": False, "NOT_STARTED": False, "DELETING": False}
"""Serve's application states: does the same configuration start it again? After DEPLOY_FAILED it does not (three failed starts)."""

_RAISED = re.compile(rf"^(?:[\w.]+: )?({'|'.join(reason.value for reason in FailureReason)}): (.+)$")
"""How a StartFailed ends a Python traceback: its class, its reason, its message; the engine's own lines follow."""


def pause_after(failures: int) -> timedelta:
    """How long what Serve has given up on so many times in a row is left alone."""
    return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 10))


def start_failures(
    type_: StrEnum, deployment: ModelDeployment, view: ClusterView, allocation: DeploymentAllocation | None
) -> Iterator[Verdict]:
    """What keeps replicas of the spec as it is now from starting; nothing if nothing does."""
    application = view.application(deployment)
    if application is None:
        return
    gave_up = SERVE_GAVE_UP.get(application.status, False)
    note = _retry_note(allocation) if gave_up else "; Ray Serve tries again (three tries in all)"
    failure = _last_word(deployment, view, allocation) or (remembered(application) if gave_up else None)
    if failure is not None:
        lines = "".join(f"\n  | {line}" for line in failure.lines[-LINES_SHOWN:])
        yield Verdict(type_, FALSE, DeploymentReason(failure.reason.value), failure.message + note + lines)
    elif gave_up:
        yield Verdict(type_, FALSE, DeploymentReason.START_FAILED, _serve_says(application) + note)


def _last_word(deployment: ModelDeployment, view: ClusterView, allocation: DeploymentAllocation | None) -> StartFailure | None:
    attempt = allocation.attempt if allocation else 1
    wanted = version_of(deployment, view.layout) if view.layout else ""
    told = [
        replica.failure
        for replica in view.replicas(deployment)
        if replica.attempt == attempt and replica.version == wanted and not _of_a_predecessor(replica, deployment)
    ]
    return next((failure for failure in reversed(told) if failure), None)


def _of_a_predecessor(replica: ReplicaView, deployment: ModelDeployment) -> bool:
    """It was of a deployment of the same name that was deleted: the directory remembers failures for a while."""
    created = deployment.metadata.creation_timestamp
    return created is not None and replica.since < created


def remembered(application: ServeApplication) -> StartFailure | None:
    """The failure that Serve's own message tells of, if it does."""
    for text in _messages(application):
        lines = text.splitlines()
        for number, line in reversed(list(enumerate(lines))):
            if match := _RAISED.match(line.strip()):
                return StartFailure(reason=FailureReason(match[1]), message=match[2], lines=tuple(lines[number + 1 :]))
    return None


def _serve_says(application: ServeApplication) -> str:
    text = next(_messages(application), "Ray Serve gave up on it without a message")
    return text.splitlines()[-1][:500]


def _messages(application: ServeApplication) -> Iterator[str]:
    texts = (*(item.message for item in application.deployments.values()), application.message)
    return (text.strip() for text in texts if text.strip())


def _retry_note(allocation: DeploymentAllocation | None) -> str:
    if allocation is None or allocation.retry_at is None:
        return "; starting again"
    return f"; started again at {allocation.retry_at:%H:%M:%S} UTC, or at once when the manifest changes"
