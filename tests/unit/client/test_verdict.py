"""Done, on its way, or stuck until the user changes something."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_client.verdict import NEEDS_USER, State, judge
from matrix_crds import registry
from matrix_crds.keys import ObjectKey
from matrix_store.port import StoredObject
from tests.unit.client.worlds import CHAT, LAB, condition, manifest, ready


def stored(key: ObjectKey, status: dict[str, Any] | None, generation: int = 1) -> StoredObject:
    raw = manifest(key, uid="u", resourceVersion="1", generation=generation, creationTimestamp="2026-01-01T00:00:00Z")
    return StoredObject(raw | ({} if status is None else {"status": status}))


OWN = [
    ("ready", LAB, ready(), 1, State.DONE, "Ready"),
    ("no status yet", LAB, None, 1, State.WAITING, ""),
    ("an older spec was ready", LAB, ready(), 2, State.WAITING, ""),
    ("starting", LAB, ready("False", "Starting", "the head"), 1, State.WAITING, "Starting"),
    ("not known", LAB, ready("Unknown", "DashboardUnreachable", "silent"), 1, State.WAITING, "DashboardUnreachable"),
    ("too few CPUs", LAB, ready("False", "InsufficientResources", "64 CPUs"), 1, State.STUCK, "InsufficientResources"),
    ("too few CPUs for an older spec", LAB, ready("False", "InsufficientResources", "64 CPUs"), 2, State.WAITING, ""),
    ("a failed start is tried again", CHAT, ready("False", "StartFailed", "boom"), 1, State.WAITING, "StartFailed"),
    ("a model that does not exist", CHAT, ready("False", "ModelNotFound", "no such"), 1, State.STUCK, "ModelNotFound"),
]


@pytest.mark.parametrize(("key", "status", "generation", "state", "reason"), [row[1:] for row in OWN], ids=[row[0] for row in OWN])
def test_an_object_alone(key: ObjectKey, status: dict[str, Any] | None, generation: int, state: State, reason: str) -> None:
    verdict = judge(stored(key, status, generation), "Ready", "True", {})

    assert (verdict.state, verdict.reason) == (state, reason)


def test_another_condition_and_another_status_can_be_waited_for() -> None:
    cluster = stored(LAB, {"observedGeneration": 1, "conditions": [condition("HeadReady", "False", "Recovering")]})

    assert judge(cluster, "HeadReady", "False", {}).state is State.DONE
    assert judge(cluster, "HeadReady", "True", {}).state is State.WAITING
    assert judge(cluster, "Ready", "True", {}).state is State.WAITING


WAITS = ready("False", "ClusterNotReady", "MatrixCluster lab is not ready")
CLUSTERS = [
    ("starting", ready("False", "Starting", "the head"), State.WAITING),
    ("stuck", ready("False", "PortTaken", "port 1 is taken"), State.STUCK),
    ("ready, the deployment has not seen it yet", ready(), State.WAITING),
]


@pytest.mark.parametrize(("cluster", "state"), [row[1:] for row in CLUSTERS], ids=[row[0] for row in CLUSTERS])
def test_a_deployment_is_as_stuck_as_its_cluster(cluster: dict[str, Any], state: State) -> None:
    verdict = judge(stored(CHAT, WAITS), "Ready", "True", {LAB: stored(LAB, cluster)})

    assert verdict.state is state
    if state is State.STUCK:
        assert verdict.reason == "PortTaken"
        assert verdict.message == "MatrixCluster/lab: port 1 is taken"


def test_every_reason_that_needs_the_user_exists() -> None:
    for kind, reasons in NEEDS_USER.items():
        assert reasons <= {reason.value for reason in registry.lookup(kind).reasons}
