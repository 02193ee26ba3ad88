"""`matrix explain`: what a field is, from the model that validates it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from matrix_cli.exits import Exit
from matrix_crds import registry
from matrix_crds.fields import Field, field
from matrix_crds.validation import validate
from tests.unit.cli.runner import run
from tests.unit.client.worlds import World


def walk(found: Field) -> Iterator[Field]:
    yield found
    for inner in found.fields:
        yield from walk(inner)


EVERY = [inner for info in registry.KINDS for inner in walk(field(info, depth=32))]


def shown(world: World, path: str) -> str:
    result = run(world, "explain", path)
    assert result.exit_code == Exit.OK, result.stderr
    return result.stdout


def test_a_field_has_its_type_bounds_default_rules_and_example(empty: World) -> None:
    text = shown(empty, "mxd.spec.engine.vllm.tensorParallel")

    assert text.startswith("ModelDeployment.spec.engine.vllm.tensorParallel  integer 1 to 64, default 1\n")
    assert "Over how many GPUs each layer is split." in text
    assert "gpu must equal tensorParallel x pipelineParallel" in text
    assert text.endswith("Example:\n  spec:\n    engine:\n      vllm:\n        tensorParallel: 1\n")


def test_a_mapping_lists_its_fields(empty: World) -> None:
    lines = shown(empty, "ModelDeployment.spec.engine").splitlines()

    assert [line.split()[0] for line in lines[lines.index("Fields:") + 1 :: 2]] == ["vllm", "external", "dummy"]
    assert any("exactly one of vllm, external, dummy" in line for line in lines)


def test_a_kind_lists_the_fields_of_its_spec_and_status(empty: World) -> None:
    text = shown(empty, "mxc")

    assert text.startswith("MatrixCluster\n")
    assert "Fields of spec:" in text and "  workerGroups  " in text and "Fields of status:" in text


def test_what_can_not_be_changed_says_so_below_as_well(empty: World) -> None:
    for path in ("mxd.spec.clusterRef", "mxd.spec.clusterRef.name", "mxc.spec.backend.slurm.site"):
        assert "Can't be changed after creation:" in shown(empty, path)
    assert "Can't be changed" not in shown(empty, "mxd.spec.replicas")


def test_values_have_their_meanings(empty: World) -> None:
    policy, conditions = shown(empty, "mxd.spec.routing.policy"), shown(empty, "mxd.status.conditions[].type")

    assert "  LeastLoaded  the one with fewest requests.\n" in policy
    assert "  ReplicasReady  All wanted replicas answer.\n" in conditions


def test_a_rule_concerns_the_fields_that_it_names(empty: World) -> None:
    def rules(path: str) -> set[str]:
        return {rule.name for rule in field(registry.lookup("mxd"), path).rules}

    assert rules("spec.resources.gpu") == {"gpu-parallel"}
    assert rules("spec.model.source") == {"vllm-source", "external-source"}
    assert rules("spec.model.servedName") == set()
    assert rules("spec.autoscale.max") == {"min-max"}


def test_lists_are_passed_with_or_without_brackets(empty: World) -> None:
    assert shown(empty, "mxc.spec.workerGroups.replicas") == shown(empty, "mxc.spec.workerGroups[0].replicas")
    assert "workerGroups:\n    - replicas: 2\n" in shown(empty, "mxc.spec.workerGroups.replicas")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("mxd.spec.engine.vlm", "mxd.spec.engine has no field 'vlm'; did you mean mxd.spec.engine.vllm?"),
        ("mxd.spec.drain_seconds", "did you mean mxd.spec.drainSeconds?"),
        ("mxd.tensorParallel", "did you mean mxd.spec.engine.vllm.tensorParallel?"),
        ("mxd.engine", "did you mean mxd.spec.engine?"),
        ("mxc.spec.workerGroups.nonsense", "has no field 'nonsense'; there is name, replicas"),
        ("mxd.spec.replicas.more", "mxd.spec.replicas has no field 'more'; it has none"),
        ("mxx.spec", "there is no kind 'mxx'"),
        ("", "there is no kind ''"),
    ],
)
def test_an_unknown_field_is_one_line_with_what_was_meant(empty: World, path: str, says: str) -> None:
    result = run(empty, "explain", path)

    assert (result.exit_code, result.stdout) == (Exit.INVALID, "")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("info", registry.KINDS, ids=lambda info: info.kind)
def test_the_example_of_a_kind_can_be_applied(info: registry.KindInfo) -> None:
    example = field(info).example

    assert example["kind"] == info.kind
    validate(example)
    assert field(info, "spec").example == example["spec"]


def test_recursive_shows_every_level(empty: World) -> None:
    lines = run(empty, "explain", "mxd.spec", "--recursive").stdout.splitlines()

    assert "  replicas  integer 0 to 10000, default 1" in lines
    assert "      args  list of text (at most 128 entries)" in lines


def test_json_has_the_same(empty: World) -> None:
    record: dict[str, Any] = json.loads(run(empty, "explain", "mxd.spec.autoscale", "-o", "json").stdout)
    inner = {entry["path"]: entry for entry in record["fields"]}

    assert (record["kind"], record["path"], record["required"]) == ("ModelDeployment", "spec.autoscale", False)
    assert inner["spec.autoscale.max"]["required"] is True
    assert inner["spec.autoscale.targetOngoingRequests"]["default"] == 32


@pytest.mark.parametrize("found", EVERY, ids=lambda found: f"{found.kind}.{found.path}")
def test_every_field_is_explained(found: Field) -> None:
    assert found.description or found.values
    assert found.type
    for inner in found.fields:
        if inner.required and isinstance(found.example, dict):
            assert inner.name in found.example
