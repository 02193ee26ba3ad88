"""Which changes of a status are worth an event, and what a status keeps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from matrix_crds.base import Condition, ConditionStatus
from matrix_crds.cluster import MatrixClusterStatus
from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_operator.reconcile.cache import ObjectCache
from matrix_operator.reconcile.conditions import transitions
from matrix_operator.reconcile.status_writer import StatusWriter, is_told
from matrix_store.sqlite import SqliteStore

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


def test_what_can_not_be_read_of_a_status_outlives_what_is_said_of_it(tmp_path: Path) -> None:
    """A bug is told at an object whose status another version wrote, too, and is not told again as long as it is the same."""

    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "matrix.db")
        await store.apply({"apiVersion": API_VERSION, "kind": "MatrixCluster", "metadata": {"name": "lab"}, "spec": {}})
        key = ObjectKey("MatrixCluster", "default", "lab")
        odd = {
            "allocation": {"kind": "Moons"},
            "backend": "Moon",
            "conditions": [{"type": "HeadReady", "status": "True", "reason": "Ready"}],
        }
        await store.write_status(key, odd, resource_version=(await store.get(key)).resource_version)
        clock = iter(NOW + timedelta(minutes=minute) for minute in range(10))
        writer = StatusWriter(store, ObjectCache(), lambda: next(clock))
        await writer.write_bug(await store.get(key), RuntimeError("surprise\nat length"))
        told = await store.get(key)
        status = told.raw["status"]
        assert (status["allocation"], status["backend"]) == (odd["allocation"], odd["backend"])
        ready, other = status["conditions"]
        assert (ready["status"], ready["reason"], other["type"]) == ("Unknown", "InternalError", "HeadReady")
        assert "surprise" in status["summary"] and "\n" not in status["summary"]
        await writer.write_bug(told, RuntimeError("surprise\nat length"))
        assert (await store.get(key)).resource_version == told.resource_version
        await store.close()

    asyncio.run(scenario())
