"""What is live and what rolls, and what is said while it does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.deployment import DeploymentAllocation, ModelDeployment, ModelDeploymentSpec
from matrix_crds.tree import models_below
from matrix_operator.looks import Unknown
from matrix_operator.ray_rest import ServeDeployment
from matrix_operator.reconcile.deployment_summary import next_allocation, summarise
from matrix_operator.reconcile.start_failures import FIRST_RETRY
from matrix_operator.serve_config import Entry, application_name, model_entry, system_entry, version_of
from matrix_proto.state import FailureReason, ReplicaState, StartFailure
from tests.unit.operator.builders import LAYOUT, NOW, accepted, deployment, ray, replica
from tests.unit.operator.test_deployment_summary import seen, unheard

ARCHITECTURE = Path(__file__).parents[3] / "docs" / "architecture.md"

VLLM = {"model": {"source": "file:///m"}, "engine": {"vllm": {}}}
EDITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "model.source": ({}, {"model": {"source": "file:///other"}}),
    "model.servedName": ({}, {"model": {"source": "file:///models/m", "servedName": "n"}}),
    "engine.vllm.dtype": (VLLM, {"engine": {"vllm": {"dtype": "Float32"}}}),
    "engine.vllm.maxModelLength": (VLLM, {"engine": {"vllm": {"maxModelLength": 512}}}),
    "engine.vllm.tensorParallel": (VLLM, {"engine": {"vllm": {"tensorParallel": 2}}, "resources": {"gpu": 2}}),
    "engine.vllm.pipelineParallel": (VLLM, {"engine": {"vllm": {"pipelineParallel": 2}}, "resources": {"gpu": 2}}),
    "engine.vllm.args": (VLLM, {"engine": {"vllm": {"args": ["--enforce-eager"]}}}),
    "engine.dummy.tokensPerSecond": ({}, {"engine": {"dummy": {"tokensPerSecond": 7}}}),
    "engine.dummy.firstTokenSeconds": ({}, {"engine": {"dummy": {"firstTokenSeconds": "7"}}}),
    "engine.dummy.failureRate": ({}, {"engine": {"dummy": {"failureRate": "0.5"}}}),
    "engine.dummy.seed": ({}, {"engine": {"dummy": {"seed": 7}}}),
    "resources.cpu": ({}, {"resources": {"cpu": 3}}),
    "resources.memory": ({}, {"resources": {"memory": "9Gi"}}),
    "resources.gpu": ({}, {"resources": {"gpu": 1}}),
    "replicas": ({}, {"replicas": 3}),
    "routing.policy": ({}, {"routing": {"policy": "Prefix"}}),
    "rollout.surgePercent": ({}, {"rollout": {"surgePercent": 100}}),
    "rollout.restartedAt": ({}, {"rollout": {"restartedAt": "2026-06-01T11:30:00Z"}}),
    "drainSeconds": ({}, {"drainSeconds": 5}),
}
"""Field -> a spec, and another value of the field over it."""
NOT_EDITABLE = {"clusterRef", "model.adapters", "engine.external", "autoscale"}
"""What can't be changed after creation, and what this version refuses."""


def rolling_part(entry: Entry) -> Entry:
    """What starts every replica of an application anew when it changes: ray 2.60's get_app_code_version, and DeploymentVersion's
    requires_actor_restart; tests/e2e/runtime asks Ray itself."""
    options = [{"name": item["name"], "ray_actor_options": item.get("ray_actor_options")} for item in entry["deployments"]]
    top = {name: entry.get(name) for name in ("import_path", "runtime_env", "args", "autoscaling_policy")}
    return top | {"deployments": options}


def fields_of_the_spec() -> set[str]:
    """Every field that holds a value and no further fields."""
    found: set[str] = set()
    for location, model in models_below(ModelDeploymentSpec, ()):
        names = {".".join(map(str, (*location, info.alias or name))) for name, info in model.model_fields.items()}
        found |= names
    inner = {".".join(map(str, location)) for location, _ in models_below(ModelDeploymentSpec, ())}
    return found - inner


def table_of_the_documentation() -> dict[str, str]:
    rows = (line.split("|") for line in ARCHITECTURE.read_text().splitlines() if line.startswith("| `"))
    return {cells[1].strip().strip("`"): cells[2].strip() for cells in rows if cells[2].strip() in ("live", "rolls")}


def test_the_table_of_edits_holds_every_field_of_the_spec() -> None:
    missing = {
        field for field in fields_of_the_spec() if not any(field == known or field.startswith(f"{known}.") for known in NOT_EDITABLE)
    }
    assert missing == set(EDITS)


@pytest.mark.parametrize("field", EDITS)
def test_a_field_is_live_or_rolls_as_the_documentation_says(field: str) -> None:
    table = table_of_the_documentation()
    kind = next(kind for known, kind in table.items() if field == known or field.startswith(f"{known}."))
    base, change = EDITS[field]
    before, after = deployment(spec=base), deployment(spec=base | change)
    entries = model_entry(before, LAYOUT), model_entry(after, LAYOUT)
    assert (rolling_part(entries[0]) == rolling_part(entries[1])) == (kind == "live")
    assert (version_of(before, LAYOUT) == version_of(after, LAYOUT)) == (kind == "live")
    system = system_entry(LAYOUT, [before]), system_entry(LAYOUT, [after])
    assert rolling_part(system[0]) == rolling_part(system[1])
    assert entries[0] != entries[1] or system[0] != system[1]


def test_a_new_attempt_and_another_model_on_the_gateway_are_live() -> None:
    again = with_allocation(deployment(), attempt=2)
    assert rolling_part(model_entry(again, LAYOUT)) == rolling_part(model_entry(deployment(), LAYOUT))
    assert model_entry(again, LAYOUT) != model_entry(deployment(), LAYOUT)
    assert rolling_part(system_entry(LAYOUT, [deployment(), deployment("other")])) == rolling_part(system_entry(LAYOUT, []))


def with_allocation(item: ModelDeployment, **fields: Any) -> ModelDeployment:
    allocation = DeploymentAllocation.model_validate(fields)
    return item.model_copy(update={"status": item.status.model_copy(update={"allocation": allocation})})


def test_a_restart_that_the_manifest_no_longer_has_restarts_nothing() -> None:
    restarted = deployment(spec={"rollout": {"restartedAt": "2026-06-01T11:30:00Z"}})
    status = summarise(restarted, seen(replica(restarted), of=restarted), NOW)
    assert status.allocation is not None and status.allocation.restarted_at == restarted.spec.rollout.restarted_at
    without = deployment().model_copy(update={"status": status})
    assert version_of(without, LAYOUT) == version_of(restarted, LAYOUT) != version_of(deployment(), LAYOUT)


def test_the_same_moment_in_another_zone_restarts_nothing() -> None:
    first, second = (deployment(spec={"rollout": {"restartedAt": at}}) for at in ("2026-06-01T11:30:00Z", "2026-06-01T13:30:00+02:00"))
    assert version_of(first, LAYOUT) == version_of(second, LAYOUT)


TWO = deployment(spec={"replicas": 2})
NEW, OLD = replica(TWO, id="new"), replica(TWO, id="old", version="before")
COMING = replica(TWO, ReplicaState.STARTING, id="coming")
LEAVING = replica(TWO, ReplicaState.DRAINING, id="leaving", version="before")
FAILURE = StartFailure(reason=FailureReason.OUT_OF_MEMORY, message="too large", lines=("the engine's line",))
FAILED = replica(TWO, ReplicaState.FAILED, id="failed", failure=FAILURE)

ROLLING: list[tuple[str, tuple[Any, ...], str, str, str, str, int]] = [
    ("nothing replaced yet", (OLD, OLD), "DEPLOYING", "False", "RollingOut", "0 of 2 replicas updated", 0),
    ("the first comes up", (OLD, COMING), "DEPLOYING", "False", "RollingOut", "0 of 2 replicas updated", 0),
    ("one replaced", (NEW, OLD), "DEPLOYING", "False", "RollingOut", "1 of 2 replicas updated", 1),
    ("all replaced, Serve is not done", (NEW, NEW), "DEPLOYING", "False", "RollingOut", "2 of 2 replicas updated; waiting", 2),
    ("all replaced, a former one finishes its requests", (NEW, NEW, LEAVING), "RUNNING", "True", "Ready", "", 2),
    ("all replaced", (NEW, NEW), "RUNNING", "True", "Ready", "", 2),
    ("the new one fails, the old ones serve on", (OLD, OLD, FAILED), "DEPLOYING", "False", "OutOfMemory", "too large; Ray Serve tries", 0),
    ("and Serve has given up", (OLD, OLD, FAILED), "DEPLOY_FAILED", "False", "OutOfMemory", "started again at 12:00:10", 0),
]


@pytest.mark.parametrize(
    ("replicas", "serve", "status", "reason", "words", "updated"), [row[1:] for row in ROLLING], ids=[r[0] for r in ROLLING]
)
def test_up_to_date_during_a_rollout(replicas: tuple[Any, ...], serve: str, status: str, reason: str, words: str, updated: int) -> None:
    told = summarise(TWO, seen(*replicas, of=TWO, serve=serve), NOW)
    condition = told.condition("UpToDate")
    assert condition is not None
    assert (condition.status, condition.reason) == (status, reason)
    assert words in condition.message
    assert told.replicas.updated == updated


def test_a_rollout_is_not_called_done_while_the_directory_can_not_tell() -> None:
    silent = seen(of=TWO, ray=ray(accepted(TWO, status="DEPLOYING"), state=Unknown("?")))
    anew = unheard(TWO)
    assert anew.serve is not None
    applications = {name: app.model_copy(update={"status": "DEPLOYING"}) for name, app in anew.serve.applications.items()}
    for of, status in ((silent, "Unknown"), (seen(of=TWO, ray=ray(applications)), "False")):
        told = summarise(TWO, of, NOW).condition("UpToDate")
        assert told is not None
        assert told.status == status


def test_old_replicas_that_serve_on_do_not_stop_the_retries_of_the_new_ones() -> None:
    of = seen(OLD, OLD, FAILED, of=TWO, serve="DEPLOY_FAILED")
    waiting = next_allocation(TWO, of, NOW)
    assert waiting.retry_at == NOW + FIRST_RETRY
    later = next_allocation(with_allocation(TWO, **waiting.to_wire()), of, NOW + FIRST_RETRY + timedelta(seconds=1))
    assert later.attempt == 2


def test_a_failure_of_the_former_version_is_not_that_of_the_new_one() -> None:
    before = replica(TWO, ReplicaState.FAILED, version="before", failure=FAILURE)
    told = summarise(TWO, seen(before, COMING, of=TWO, serve="DEPLOYING"), NOW).condition("Ready")
    assert told is not None and told.reason == "Starting"


TRACEBACK = """The deployment failed to start 3 times in a row. Error:
ray::ServeReplica:mx-md-m:Replica.initialize_and_get_metadata() (pid=1, ip=127.0.0.1)
  File "replica.py", line 1, in __init__
    raise failure from None
matrix_runtime.errors.StartFailed: OutOfMemory: the KV cache is too small; lower maxModelLength
ValueError: To serve at least one request
RuntimeError: Engine core initialization failed"""


def test_what_the_directory_forgot_of_a_failure_is_read_off_serves_message() -> None:
    item = deployment()
    name, applications = application_name(item), accepted(item, status="DEPLOY_FAILED")
    said = ServeDeployment(name="Replica", status="DEPLOY_FAILED", message=TRACEBACK)
    applications[name] = applications[name].model_copy(update={"deployments": {"Replica": said}})
    told = summarise(item, seen(of=item, ray=ray(applications)), NOW).condition("Ready")
    assert told is not None
    assert told.reason == "OutOfMemory"
    assert told.message.startswith("the KV cache is too small; lower maxModelLength; started again at")
    assert told.message.endswith("  | ValueError: To serve at least one request\n  | RuntimeError: Engine core initialization failed")


def test_scaling_down_leaves_the_status_ready_while_a_replica_drains() -> None:
    one = deployment()
    leaving = replica(one, ReplicaState.DRAINING, id="leaving")
    told = summarise(one, seen(replica(one), leaving, of=one), NOW)
    ready = told.condition("Ready")
    assert ready is not None and ready.status == "True"
    assert (told.ready_replicas, told.replicas.failing, told.replicas.display) == (1, 0, "1/1")


def test_a_replica_that_ended_after_its_drain_is_not_called_lost() -> None:
    ended = replica(TWO, ReplicaState.DRAINING, id="ended", suspect=True)
    told = summarise(TWO, seen(NEW, ended, of=TWO, serve="DEPLOYING"), NOW)
    ready = told.condition("Ready")
    assert ready is not None and ready.reason == "Starting"
    assert told.replicas.failing == 0


def test_a_dead_replica_that_was_replaced_is_not_counted_as_failing() -> None:
    one = deployment()
    told = summarise(one, seen(replica(one), replica(one, id="dead", suspect=True), of=one), NOW)
    assert (told.ready_replicas, told.replicas.failing) == (1, 0)
    alone = summarise(one, replace(seen(replica(one, suspect=True), of=one)), NOW)
    assert (alone.ready_replicas, alone.replicas.failing) == (0, 1)
