"""Which changes of a status are worth an event."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from matrix_crds.base import Condition, ConditionStatus
from matrix_crds.cluster import MatrixClusterStatus
from matrix_operator.reconcile.conditions import transitions
from matrix_operator.reconcile.status_writer import is_told

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
NONE: dict[str, str] = {}


STARTING = {"Ready": "False Starting", "HeadReady": "False Starting", "ServeReady": "False Starting"}
UP = {"Ready": "True Ready", "HeadReady": "True Ready", "ServeReady": "True Ready"}


def status(conditions: dict[str, str]) -> MatrixClusterStatus:
    """Of `Type: "Status Reason"`."""
    found = []
    for type_, text in conditions.items():
        value, reason = text.split()
        found.append(Condition(type=type_, status=ConditionStatus(value), reason=reason, last_transition_time=NOW, observed_generation=1))
    return MatrixClusterStatus(conditions=tuple(found))


@pytest.mark.parametrize(
    ("what", "before", "after", "told"),
    [
        ("there is an object", NONE, {"Ready": "False Pending", "HeadReady": "False Pending"}, set()),
        ("its start begins", {"Ready": "False Pending", "HeadReady": "False Pending"}, STARTING, {"Ready"}),
        ("a step of it", STARTING, STARTING | {"Ready": "False ServeNotReady", "HeadReady": "True Ready"}, {"Ready", "HeadReady"}),
        ("its end", STARTING, UP, {"Ready"}),
        ("something is lost", UP, UP | {"Ready": "False ServeNotReady", "ServeReady": "False ServeNotReady"}, {"Ready", "ServeReady"}),
        ("something odd at once", NONE, {"Ready": "False NameTaken", "HeadReady": "False NameTaken"}, {"Ready", "HeadReady"}),
    ],
)
def test_what_a_person_would_miss_is_told(what: str, before: dict[str, str], after: dict[str, str], told: set[str]) -> None:
    old, new = status(before), status(after)
    changed = transitions(old.conditions, new.conditions)
    assert {condition.type for condition in changed if is_told(condition, old, new)} == told
