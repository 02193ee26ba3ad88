"""What is said of a ModelDeployment: one row per thing that can be wrong, and the backoff of what Serve has given up on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from matrix_crds.base import Condition
from matrix_crds.cluster import MatrixCluster
from matrix_crds.deployment import DeploymentAllocation, ModelDeployment, ModelDeploymentStatus
from matrix_operator.looks import Absent, Unknown
from matrix_operator.ray_rest import ServeDeployment, ServeReplica
from matrix_operator.reconcile.deployment_summary import next_allocation, summarise
from matrix_operator.reconcile.start_failures import FIRST_RETRY, LAST_RETRY
from matrix_operator.reconcile.view import ClusterView
from matrix_operator.serve_config import application_name, entry_hash, model_entry
from matrix_proto.state import FailureReason, Progress, ReplicaState, StartFailure, StartPhase
from tests.unit.operator.builders import LAYOUT, NOW, accepted, cluster, deployment, ray, replica, view

M = deployment()
FAILURE = StartFailure(reason=FailureReason.BAD_ARGUMENTS, message="vLLM does not know --speed", lines=("error: unrecognized arguments",))


def ready_cluster(status: str = "True", reason: str = "Ready", message: str = "", **parts: str) -> MatrixCluster:
    """`parts`: the status of other conditions."""
    base = cluster()
    conditions = [Condition.model_validate({"type": "Ready", "status": status, "reason": reason, "message": message})]
    conditions += [Condition.model_validate({"type": type_, "status": holds, "reason": reason}) for type_, holds in parts.items()]
    return base.model_copy(update={"status": base.status.model_copy(update={"conditions": tuple(conditions), "observed_generation": 1})})


def lacking(**parts: str) -> MatrixCluster:
    """One that waits for a worker; `parts` besides."""
    there = {"BackendReachable": "True", "HeadReady": "True", "ServeReady": "True", "WorkersReady": "False"}
    return ready_cluster("False", "Queued", "1 of 2 workers", **(there | parts))


def seen(*replicas: Any, of: ModelDeployment = M, serve: str = "RUNNING", **fields: Any) -> ClusterView:
    looks = fields.pop("ray", None) or ray(accepted(of, status=serve), *replicas)
    return view(fields.pop("cluster", ready_cluster()), ray=looks, deployments=fields.pop("deployments", (of,)), **fields)


def starting(phase: StartPhase, **fields: Any) -> Any:
    return replica(M, ReplicaState.STARTING, phase=phase, message="loading the weights", **fields)


BIG = deployment(spec={"resources": {"cpu": 64, "memory": "2Gi"}})
TWO = deployment(spec={"replicas": 2})
ZERO = deployment(spec={"replicas": 0})
REJECTED = view(ready_cluster(), ray=ray(accepted()), deployments=(M,), rejections={entry_hash(model_entry(M, LAYOUT)): "args: no"})
EDITED = deployment(spec={"engine": {"dummy": {"seed": 7}}})
EDIT_REJECTED = seen(replica(M), rejections={entry_hash(model_entry(EDITED, LAYOUT)): "args: no"})

TABLE: list[tuple[str, ModelDeployment, ClusterView | None, str, str, str]] = [
    ("no cluster", M, None, "False", "ClusterNotFound", "there is no MatrixCluster 'lab'"),
    ("cluster leaves", M, seen(cluster=cluster(deleting=True)), "False", "ClusterNotFound", "is being deleted"),
    ("cluster waits", M, seen(cluster=ready_cluster("False", "Starting", "head")), "False", "ClusterNotReady", "'lab': head"),
    ("cluster unknown", M, seen(cluster=ready_cluster("Unknown", "DashboardUnreachable", "silent")), "Unknown", "StateUnknown", "silent"),
    ("ready", M, seen(replica(M)), "True", "Ready", "1 of 1 replicas ready"),
    ("does not miss a worker", M, seen(replica(M), cluster=lacking()), "True", "Ready", "1 of 1 replicas ready"),
    ("misses a worker", TWO, seen(replica(TWO), of=TWO, cluster=lacking()), "False", "ClusterNotReady", "1 of 2 workers"),
    ("misses the gateway", M, seen(replica(M), cluster=lacking(ServeReady="False")), "False", "ClusterNotReady", "1 of 2 workers"),
    ("not sent yet", M, seen(ray=ray(accepted())), "False", "Pending", "waiting for Ray Serve to take"),
    ("no replica yet", M, seen(), "False", "Starting", "0 of 1 replicas ready; waiting for Ray Serve"),
    ("preparing", M, seen(starting(StartPhase.PREPARING)), "False", "Starting", "loading the weights (since 11:00:00)"),
    ("converting", M, seen(starting(StartPhase.CONVERTING, progress=Progress(done=1, total=4))), "False", "Converting", "weights, 25 %"),
    ("loading", M, seen(starting(StartPhase.LOADING)), "False", "Loading", "loading the weights"),
    ("one of two", TWO, seen(replica(TWO), of=TWO), "False", "Starting", "1 of 2 replicas ready"),
    ("silent replica", M, seen(replica(M, suspect=True)), "False", "Recovering", "stopped reporting"),
    ("failed once", M, seen(replica(M, ReplicaState.FAILED, failure=FAILURE), serve="DEPLOYING"), "False", "BadArguments", "tries again"),
    ("given up", M, seen(replica(M, ReplicaState.FAILED, failure=FAILURE), serve="DEPLOY_FAILED"), "False", "BadArguments", "12:00:10"),
    ("given up, no report", M, seen(serve="DEPLOY_FAILED"), "False", "StartFailed", "Ray Serve gave up"),
    ("too large", BIG, seen(of=BIG), "False", "Unschedulable", "at most 8 CPUs"),
    ("refused", M, REJECTED, "False", "RejectedByServe", "args: no"),
    ("the edit refused, the former one serves", EDITED, EDIT_REJECTED, "False", "RejectedByServe", "args: no"),
    ("no directory", M, seen(ray=ray(accepted(M), state=Unknown("?"))), "Unknown", "StateUnknown", "can't be seen"),
    ("scaled to zero", ZERO, seen(of=ZERO, ray=ray(accepted())), "True", "Ready", "scaled to zero"),
]


@pytest.mark.parametrize(("item", "of", "status", "reason", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_ready_and_why(item: ModelDeployment, of: ClusterView | None, status: str, reason: str, words: str) -> None:
    condition = summarise(item, of, NOW).condition("Ready")
    assert condition is not None
    assert (condition.status, condition.reason) == (status, reason)
    assert words in condition.message


@pytest.mark.parametrize(
    "spec",
    [
        {"autoscale": {"max": 2}},
        {"model": {}, "engine": {"external": {"provider": "OpenAI", "model": "x", "apiKey": {"secretKeyRef": {"name": "s", "key": "k"}}}}},
        {"model": {"source": "file:///m", "adapters": {"items": []}}, "engine": {"vllm": {}}},
    ],
)
def test_what_is_not_built_says_so_and_what_to_do(spec: dict[str, Any]) -> None:
    item = deployment(spec=spec)
    ready = summarise(item, seen(deployments=(item,)), NOW).condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "NotSupported")
    assert "is not supported by this version; " in ready.message


def test_the_name_of_an_older_deployment_is_taken() -> None:
    younger = deployment("a", {"model": {"source": "file:///x", "servedName": "m"}}, created=NOW)
    ready = summarise(younger, seen(replica(M), deployments=(M, younger)), NOW).condition("Ready")
    assert ready is not None
    assert ready.reason == "NameTaken"
    assert "ModelDeployment/m" in ready.message


def test_what_is_refused_a_name_is_still_asked_under_the_one_that_it_has() -> None:
    younger = deployment("a", {"model": {"source": "file:///x", "servedName": "m"}}, created=NOW)
    before = younger.model_copy(update={"status": younger.status.model_copy(update={"model": "small"})})
    assert summarise(before, seen(replica(M), deployments=(M, before)), NOW).model == "small"
    assert summarise(younger, seen(replica(M), deployments=(M, younger)), NOW).model == "", "it never had one"


def test_the_engines_own_last_lines_are_in_the_message_and_not_in_the_summary() -> None:
    status = summarise(M, seen(replica(M, ReplicaState.FAILED, failure=FAILURE), serve="DEPLOY_FAILED"), NOW)
    ready = status.condition("Ready")
    assert ready is not None
    assert ready.message.endswith("\n  | error: unrecognized arguments")
    assert status.summary == ready.message.splitlines()[0]


def test_the_gateway_is_a_models_endpoint_once_a_replica_answers() -> None:
    assert summarise(TWO, seen(replica(TWO, ReplicaState.STARTING), of=TWO), NOW).endpoints == ()
    status = summarise(TWO, seen(replica(TWO), replica(TWO, id="m-2"), of=TWO), NOW)
    assert [(endpoint.name, endpoint.url) for endpoint in status.endpoints] == [("openai", "http://127.0.0.1:9002/v1")]
    assert status.ready_replicas == 2


def unheard(item: ModelDeployment) -> ClusterView:
    """Serve runs a replica that the directory, started anew, knows nothing of."""
    applications = accepted(item)
    name = application_name(item)
    serving = ServeDeployment(name="Replica", status="HEALTHY", replicas=(ServeReplica(replica_id="r", state="RUNNING"),))
    return seen(of=item, ray=ray(applications | {name: applications[name].model_copy(update={"deployments": {"Replica": serving}})}))


def test_endpoints_stay_while_the_replicas_cannot_be_seen() -> None:
    status = summarise(M, seen(replica(M)), NOW)
    item = M.model_copy(update={"status": status})
    blind = [seen(of=item, ray=ray(accepted(item), state=Unknown("?"))), replace(seen(of=item), ray=None), unheard(item)]
    blind.append(replace(seen(replica(M), of=item), address=None))
    assert status.endpoints and all(summarise(item, of, NOW).endpoints == status.endpoints for of in blind)
    leaving, silent = seen(cluster=cluster(deleting=True)), seen(replica(M, suspect=True), of=item)
    gone = [None, seen(of=item), seen(of=item, backend=Absent()), leaving, silent]
    assert all(summarise(item, of, NOW).endpoints == () for of in gone)


def test_a_directory_that_was_started_anew_is_named_as_the_cause() -> None:
    answered = M.model_copy(update={"status": summarise(M, seen(replica(M)), NOW)})
    ready = summarise(answered, unheard(answered), NOW).condition("Ready")
    assert ready is not None
    assert ready.reason == "Recovering" and "the directory has just started" in ready.message


def test_nothing_recovers_in_a_first_start() -> None:
    ready = summarise(M, unheard(M), NOW).condition("Ready")
    assert ready is not None
    assert ready.reason == "Starting" and "waiting for the replicas' first reports" in ready.message


def with_allocation(allocation: DeploymentAllocation, generation: int = 1) -> ModelDeployment:
    item = deployment()
    metadata = item.metadata.model_copy(update={"generation": generation})
    status = ModelDeploymentStatus(observed_generation=1, allocation=allocation)
    return item.model_copy(update={"metadata": metadata, "status": status})


def test_what_serve_gave_up_on_is_started_again_after_the_backoff_and_not_before() -> None:
    given_up = seen(serve="DEPLOY_FAILED")
    waiting = next_allocation(with_allocation(DeploymentAllocation()), given_up, NOW)
    assert waiting == DeploymentAllocation(attempt=1, failures=1, retry_at=NOW + FIRST_RETRY)
    item = with_allocation(waiting)
    assert next_allocation(item, given_up, NOW + FIRST_RETRY - timedelta(seconds=1)) == waiting
    assert next_allocation(item, given_up, NOW + FIRST_RETRY) == DeploymentAllocation(attempt=2, failures=1)


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400)])
def test_a_clock_that_jumps_delays_no_retry_beyond_the_longest_backoff(jump: timedelta) -> None:
    waiting = DeploymentAllocation(attempt=1, failures=1, retry_at=NOW + FIRST_RETRY)
    assert next_allocation(with_allocation(waiting), seen(serve="DEPLOY_FAILED"), NOW + jump).attempt == 2


def test_the_backoff_doubles_up_to_its_limit() -> None:
    delays = []
    for failures in (0, 1, 2, 30):
        allocation = next_allocation(with_allocation(DeploymentAllocation(failures=failures)), seen(serve="DEPLOY_FAILED"), NOW)
        assert allocation.retry_at is not None
        delays.append(allocation.retry_at - NOW)
    assert delays == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY, LAST_RETRY]


def test_an_attempt_that_serve_has_not_taken_yet_is_not_counted_as_failed() -> None:
    item = with_allocation(DeploymentAllocation(attempt=2, failures=1))
    assert next_allocation(item, seen(serve="DEPLOY_FAILED"), NOW) == item.status.allocation


def test_an_edited_spec_and_a_ready_replica_forget_the_failures() -> None:
    failed = DeploymentAllocation(attempt=3, failures=5, retry_at=NOW + LAST_RETRY)
    edited = with_allocation(failed, generation=2)
    assert next_allocation(edited, seen(of=edited), NOW) == DeploymentAllocation(attempt=3)
    assert next_allocation(with_allocation(failed), seen(replica(M)), NOW) == DeploymentAllocation(attempt=3)


def test_a_second_look_changes_nothing() -> None:
    once = summarise(M, seen(replica(M)), NOW)
    again = summarise(M.model_copy(update={"status": once}), seen(replica(M)), NOW + timedelta(hours=1))
    assert again == once
