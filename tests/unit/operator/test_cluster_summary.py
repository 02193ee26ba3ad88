"""What is said of a MatrixCluster."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from matrix_crds.cluster import MatrixCluster, RayStatus
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.port import BackendRefusal, NodePhase, NodeState, Observation, Removal, RemovalState
from matrix_operator.looks import Absent, Present, Unknown
from matrix_operator.ray_rest import RayNode
from matrix_operator.reconcile.cluster_summary import ClusterOutcome, summarise
from matrix_operator.reconcile.view import ClusterView
from matrix_proto.state import GatewayView
from tests.unit.operator.builders import ALLOCATION, BEFORE, NOW, accepted, cluster, ray, running, state, view

NOTHING = ClusterOutcome()
ENDING = ClusterOutcome(removal=Removal(RemovalState.GOING, "3 processes left"))
REFUSED = ClusterOutcome(refusal=BackendRefusal(ClusterReason.INSUFFICIENT_RESOURCES, "asks for 64 CPUs, this machine has 2"))


def known(spec: dict[str, Any] | None = None) -> Any:
    """A cluster whose Ray has answered before."""
    base = cluster(spec)
    return base.model_copy(update={"status": base.status.model_copy(update={"ray": RayStatus(version="2.60.0", session_name="s")})})


def head(phase: NodePhase, message: str, reason: ClusterReason | None = None) -> Present[Observation]:
    observation = running().state
    return Present(Observation(observation.allocation, NodeState("head", phase, BEFORE, reason, message)))


FULL = ray(accepted())
SILENT = ray({}, version=Unknown("no answer"), nodes=Unknown("no answer"), serve=Unknown("no answer"))
LOST = GatewayView(ready=False, message="gone")
GROUPS = {"workerGroups": [{"name": "w", "replicas": 2}]}

TABLE: list[tuple[str, ClusterView, ClusterOutcome, str, str, str]] = [
    ("all is well", view(ray=FULL), NOTHING, "True", "Ready", "1 node, no models"),
    ("nothing yet", view(backend=Absent()), NOTHING, "False", "Pending", "about to be started"),
    ("refused", view(backend=Absent()), REFUSED, "False", "InsufficientResources", "64 CPUs"),
    ("starting", view(backend=head(NodePhase.STARTING, "starting the GCS")), NOTHING, "False", "Starting", "GCS (since 11:00:00)"),
    ("recovering", view(backend=head(NodePhase.RECOVERING, "the raylet died")), NOTHING, "False", "Recovering", "raylet"),
    ("failed", view(backend=head(NodePhase.FAILED, "no", ClusterReason.PORT_TAKEN)), NOTHING, "False", "PortTaken", "no"),
    ("blind", view(backend=Unknown("/proc can't be read")), NOTHING, "Unknown", "BackendUnreachable", "nothing is changed"),
    ("dashboard silent", view(known(), ray=SILENT), NOTHING, "Unknown", "DashboardUnreachable", "no answer; nothing is changed"),
    ("no mx-system", view(ray=ray({})), NOTHING, "False", "Starting", "mx-system is about to be deployed"),
    ("mx-system comes", view(ray=ray(accepted(), state=Unknown("x"))), NOTHING, "False", "ServeNotReady", "waiting for mx-system"),
    ("runtime too old", view(ray=ray(accepted(), state=state(runtime_version="9.0.0"))), NOTHING, "False", "RuntimeTooOld", "9.0.0"),
    ("no gateway yet", view(ray=ray(accepted(), state=state(gateway=None))), NOTHING, "False", "GatewayNotReady", "not reported yet"),
    ("gateway silent", view(ray=ray(accepted(), state=state(gateway=LOST))), NOTHING, "False", "GatewayNotReady", "is not ready: gone"),
    ("workers missing", view(cluster(GROUPS), ray=FULL), NOTHING, "False", "WorkersNotReady", "0 of 2 workers"),
    (
        "made anew",
        view(backend=head(NodePhase.RECOVERING, "died")),
        ENDING,
        "False",
        "RollingOut",
        "former nodes are ended: 3 processes left",
    ),
    ("suspended", view(cluster({"suspend": True}), Absent()), NOTHING, "False", "Suspended", "set spec.suspend to false"),
    ("a fault in a step", view(ray=FULL), ClusterOutcome(fault="PUT failed"), "Unknown", "ServeNotReady", "tried again"),
]


@pytest.mark.parametrize(("seen", "outcome", "status", "reason", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_ready_and_why(seen: ClusterView, outcome: ClusterOutcome, status: str, reason: str, words: str) -> None:
    condition = summarise(seen, outcome, "Local", NOW).condition("Ready")
    assert condition is not None
    assert (condition.status, condition.reason) == (status, reason)
    assert words in condition.message


def test_a_dashboard_that_is_only_slow_to_start_is_starting_and_then_unreachable() -> None:
    fresh = Present(Observation(running().state.allocation, NodeState("head", NodePhase.RUNNING, NOW)))
    early = summarise(view(backend=fresh, ray=SILENT), NOTHING, "Local", NOW).condition("Ready")
    late = summarise(view(backend=fresh, ray=SILENT), NOTHING, "Local", NOW + timedelta(minutes=5)).condition("Ready")
    assert early is not None and late is not None
    assert (early.reason, late.reason) == ("Starting", "DashboardUnreachable")


def test_a_held_back_template_is_told_by_up_to_date_and_leaves_ready_alone() -> None:
    status = summarise(view(ray=FULL, template_hash="h2"), NOTHING, "Local", NOW)
    held, ready = status.condition("UpToDate"), status.condition("Ready")
    assert held is not None and ready is not None
    assert (held.status, held.reason, ready.status) == ("False", "TemplateChanged", "True")
    assert "`matrix rollout restart MatrixCluster/default/lab`" in held.message


def test_a_command_that_is_told_names_the_cluster_with_its_namespace() -> None:
    def of_team(made: MatrixCluster) -> MatrixCluster:
        return made.model_copy(update={"metadata": made.metadata.model_copy(update={"namespace": "team"})})

    held = summarise(view(of_team(cluster()), ray=FULL, template_hash="h2"), NOTHING, "Local", NOW).condition("UpToDate")
    stuck = summarise(view(of_team(cluster(deleting=True))), NOTHING, "Local", NOW + timedelta(days=1)).condition("Ready")
    assert held is not None and "`matrix rollout restart MatrixCluster/team/lab`" in held.message
    assert stuck is not None and "`matrix why MatrixCluster/team/lab`" in stuck.message


@pytest.mark.parametrize("spec", [{"upgradePolicy": {"type": "Recreate"}}, {"upgradePolicy": {"restartedAt": "2026-06-01T11:30:00Z"}}])
def test_a_cluster_that_is_made_anew_says_so(spec: dict[str, Any]) -> None:
    told = summarise(view(cluster(spec), ray=FULL, template_hash="h2"), NOTHING, "Local", NOW).condition("UpToDate")
    assert told is not None
    assert (told.status, told.reason) == ("False", "RollingOut")


def test_where_a_cluster_answers_is_told_and_stays_while_it_cannot_be_seen() -> None:
    seen = summarise(view(ray=FULL), NOTHING, "Local", NOW)
    urls = {endpoint.name: endpoint.url for endpoint in seen.endpoints}
    assert urls["openai"] == "http://127.0.0.1:9002/v1"
    assert urls["grpc"] == "grpc://127.0.0.1:9001"
    blind = view(cluster().model_copy(update={"status": seen}), Unknown("?"), address=None)
    assert summarise(blind, NOTHING, "Local", NOW).endpoints == seen.endpoints
    assert summarise(view(cluster(deleting=True)), NOTHING, "Local", NOW).endpoints == ()
    ended = cluster({"suspend": True}).model_copy(update={"status": seen})
    assert summarise(view(ended), NOTHING, "Local", NOW).endpoints == ()
    assert summarise(view(blind.cluster, Absent(), address=None), NOTHING, "Local", NOW).endpoints == ()


def test_a_removal_says_what_is_left_and_after_its_deadline_that_it_is_stuck() -> None:
    seen = view(cluster(deleting=True))
    going = ClusterOutcome(removal=Removal(RemovalState.GOING, "2 processes left"))
    soon = summarise(seen, going, "Local", NOW + timedelta(seconds=5)).condition("Ready")
    late = summarise(seen, going, "Local", NOW + timedelta(minutes=10)).condition("Ready")
    assert soon is not None and late is not None
    assert (soon.reason, late.reason) == ("Deleting", "DeletionStuck")
    assert "2 processes left" in soon.message


def test_no_secret_is_in_a_status() -> None:
    assert "token" not in summarise(view(ray=FULL), NOTHING, "Local", NOW).model_dump_json().replace("client-token", "")


def test_a_second_look_changes_nothing() -> None:
    once = summarise(view(ray=FULL), NOTHING, "Local", NOW)
    seen = view(cluster().model_copy(update={"status": once}), ray=FULL)
    assert summarise(seen, NOTHING, "Local", NOW + timedelta(hours=1)) == once


def test_where_an_autoscaler_decides_the_workers_wanted_are_those_that_it_wants() -> None:
    """They are not missing before it wants them, and a model that finds no room may still get a node."""
    of = cluster({"workerGroups": [{"name": "w", "autoscale": {"min": 0, "max": 3}}]})
    up = NodeState("w-1", NodePhase.RUNNING, BEFORE)
    first = NodeState("head", NodePhase.RUNNING, BEFORE)
    nodes = (RayNode(node_id="h", state="ALIVE", is_head_node=True), RayNode(node_id="w", state="ALIVE"))
    for workers, wanted, ready in (((), 0, "True"), ((up,), 1, "True"), ((up,), 2, "False")):
        backend = Present(Observation(ALLOCATION, first, workers, wanted_workers=wanted))
        seen = view(of, backend, ray=ray(accepted(), nodes=Present(nodes[: 1 + len(workers)])))
        status = summarise(seen, NOTHING, "Kubernetes", NOW)
        condition = status.condition("WorkersReady")
        assert status.workers is not None and status.workers.desired == wanted
        assert condition is not None and condition.status == ready
        assert not seen.workers_complete
