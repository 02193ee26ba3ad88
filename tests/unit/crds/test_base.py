"""The base of all models."""

from __future__ import annotations

from matrix_crds.base import Condition, ConditionStatus
from matrix_crds.cluster import MatrixClusterSpec, WorkerGroup


def condition(**fields: object) -> Condition:
    return Condition.model_validate({"type": "Ready", "status": "True", "reason": "Ready", **fields})


def test_sets_of_given_fields_that_are_alike_are_kept_once() -> None:
    first, second = condition(message="a"), condition(message="b")
    assert first.model_fields_set == {"type", "status", "reason", "message"}
    assert first.model_fields_set is second.model_fields_set
    spec = MatrixClusterSpec(worker_groups=(WorkerGroup(name="a"), WorkerGroup(name="b")))
    assert spec.worker_groups[0].model_fields_set is spec.worker_groups[1].model_fields_set


def test_a_copy_takes_nothing_from_what_it_was_copied_from() -> None:
    first, second = condition(), condition()
    changed = first.model_copy(update={"message": "now", "status": ConditionStatus.FALSE})
    assert changed.model_fields_set == {"type", "status", "reason", "message"}
    assert first.model_fields_set == second.model_fields_set == condition().model_fields_set == {"type", "status", "reason"}
