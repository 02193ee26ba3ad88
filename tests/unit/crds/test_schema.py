"""The CRDs are what an API server takes (structural schemas), bounded, and as the models are; generated files are fresh."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_crds import generate
from matrix_crds.crd import definition
from matrix_crds.registry import KINDS, KindInfo

Node = dict[str, Any]
CRDS = {info.kind: definition(info) for info in KINDS}
ROOTS = {kind: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for kind, crd in CRDS.items()}

ALLOWED = {
    "type", "description", "properties", "items", "additionalProperties", "required", "default", "enum", "format", "anyOf",
    "pattern", "minLength", "maxLength", "minimum", "maximum", "maxItems", "maxProperties",
    "x-kubernetes-validations", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}  # fmt: skip


def nodes(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in node:
            yield from nodes(node[name], f"{path}[]")


EVERY = [pytest.param(node, id=f"{kind}{path}") for kind, root in ROOTS.items() for path, node in nodes(root)]


@pytest.mark.parametrize("node", EVERY)
def test_every_node_is_structural(node: Node) -> None:
    assert set(node) <= ALLOWED
    assert ("type" in node) != bool(node.get("x-kubernetes-int-or-string"))
    assert not ("properties" in node and "additionalProperties" in node)
    assert set(node.get("required", ())) <= set(node.get("properties", ()))
    if node.get("x-kubernetes-int-or-string"):
        assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    else:
        assert "anyOf" not in node
    if node.get("type") == "array":
        assert "items" in node
    for key in node.get("x-kubernetes-list-map-keys", ()):
        assert key in node["items"]["required"]


@pytest.mark.parametrize("node", EVERY)
def test_every_text_list_and_map_is_bounded(node: Node) -> None:
    if node.get("type") == "string" and "enum" not in node and node.get("format") != "date-time":
        assert "maxLength" in node
    if node.get("type") == "array":
        assert "maxItems" in node
    if "additionalProperties" in node or node.get("x-kubernetes-preserve-unknown-fields"):
        assert "maxProperties" in node


@pytest.mark.parametrize("kind", ROOTS)
def test_every_field_is_described(kind: str) -> None:
    for part in ("spec", "status"):
        for path, node in nodes(ROOTS[kind]["properties"][part], part):
            assert path.endswith("]") or node.get("description"), path


@pytest.mark.parametrize("kind", ROOTS)
def test_every_spec_integer_and_number_has_both_bounds(kind: str) -> None:
    for path, node in nodes(ROOTS[kind]["properties"]["spec"], "spec"):
        if node.get("type") in ("integer", "number"):
            assert {"minimum", "maximum"} <= set(node), path


@pytest.mark.parametrize("kind", ROOTS)
def test_no_text_of_a_spec_may_hold_a_nul(kind: str) -> None:
    for path, node in nodes(ROOTS[kind]["properties"]["spec"], "spec"):
        if (node.get("type") == "string" and "enum" not in node) or node.get("x-kubernetes-int-or-string"):
            assert not any(re.search(node["pattern"], text) for text in ("a\0", "/a\0", "hf://a/b\0", "s3://a\0")), path


@pytest.mark.parametrize("kind", ROOTS)
def test_keys_have_a_rule_where_they_have_a_form(kind: str) -> None:
    """A structural schema has no words for keys."""
    for path, node in nodes(ROOTS[kind]["properties"]["spec"], "spec"):
        if "additionalProperties" in node:
            (rule,) = node["x-kubernetes-validations"]
            assert rule["rule"].startswith("self.all(key, key.size() <= 63 && key.matches('^["), path


@pytest.mark.parametrize("kind", ROOTS)
def test_rules_stand_where_their_fields_are(kind: str) -> None:
    for path, node in nodes(ROOTS[kind]["properties"]["spec"], "spec"):
        for rule in node.get("x-kubernetes-validations", ()):
            used = set(re.findall(r"(?:self|oldSelf)\.([A-Za-z]+)\b(?!\()", rule["rule"]))
            assert used <= set(node.get("properties", {})), (path, rule["rule"])
            assert used or re.search(r"\bself\b", rule["rule"]), (path, rule["rule"])
            assert "\n" not in rule["message"] and len(rule["message"]) < 2048
            if "fieldPath" in rule:
                assert rule["fieldPath"].removeprefix(".").split(".")[0] in node["properties"]


def test_immutable_fields_are_held_by_transition_rules_on_the_spec() -> None:
    held = {
        kind: [rule["fieldPath"] for rule in root["properties"]["spec"]["x-kubernetes-validations"] if "oldSelf" in rule["rule"]]
        for kind, root in ROOTS.items()
    }
    assert held == {"MatrixCluster": [".backend"], "ModelDeployment": [".clusterRef"]}
    below = [
        path
        for root in ROOTS.values()
        for path, node in nodes(root)
        if path != ".spec" and "oldSelf" in str(node.get("x-kubernetes-validations"))
    ]
    assert below == []


def test_the_name_is_held_by_a_root_rule() -> None:
    for root in ROOTS.values():
        (rule,) = root["x-kubernetes-validations"]
        assert "self.metadata.name.size() <= 40" in rule["rule"]


def test_names_subresources_and_columns_are_as_designed() -> None:
    cluster, deployment = (CRDS[kind]["spec"] for kind in ("MatrixCluster", "ModelDeployment"))
    assert cluster["names"]["shortNames"] == ["mxc"] and deployment["names"]["shortNames"] == ["mxd"]
    assert cluster["names"]["categories"] == deployment["names"]["categories"] == ["matrix"]
    assert cluster["versions"][0]["subresources"] == {"status": {}}
    assert deployment["versions"][0]["subresources"] == {
        "status": {},
        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.readyReplicas"},
    }
    assert [c["name"] for c in cluster["versions"][0]["additionalPrinterColumns"]] == [
        "Ready",
        "Backend",
        "Workers",
        "Summary",
        "Reason",
        "Endpoint",
        "Age",
    ]


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_the_schemas_defaults_are_those_of_the_model(info: KindInfo) -> None:
    """An object that an API server filled in means what it meant before."""
    from matrix_crds.validation import validate

    spec: dict[str, Any] = (
        {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}} if info.short == "mxd" else {"workerGroups": [{"name": "a"}]}
    )
    raw = {"apiVersion": "matrix.dev/v1alpha1", "kind": info.kind, "metadata": {"name": "x"}, "spec": spec}
    filled = raw | {"spec": fill(ROOTS[info.kind]["properties"]["spec"], spec)}
    assert filled["spec"] == validate(raw).to_wire()["spec"]
    assert validate(filled) == validate(raw)


def fill(node: Node, value: Any) -> Any:
    """What an API server does with defaults."""
    if isinstance(value, list):
        return [fill(node["items"], entry) for entry in value]
    if not isinstance(value, dict):
        return value
    absent = {key: inner["default"] for key, inner in node.get("properties", {}).items() if "default" in inner and key not in value}
    return {
        key: fill(node["properties"][key], inner) if key in node.get("properties", {}) else inner for key, inner in (value | absent).items()
    }


def test_the_generated_files_are_fresh() -> None:
    assert generate.stale(generate.ROOT) == [], f"run: {generate.COMMAND}"


def test_generating_twice_gives_the_same() -> None:
    assert generate.outputs() == generate.outputs()


def test_what_is_written_is_what_was_meant() -> None:
    for path, text in generate.outputs().items():
        if path.suffix == ".yaml":
            (kind,) = [kind for kind, crd in CRDS.items() if crd["metadata"]["name"].split(".")[0] in path.name]
            assert yaml.safe_load(text) == CRDS[kind]
            assert len(text) < 200_000  # far below what an annotation of a client-side apply can hold


def test_check_names_the_stale_file_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    assert generate.main([*root, "--check"]) == 1
    assert generate.main(root) == 0
    assert generate.main([*root, "--check"]) == 0
    capsys.readouterr()
    (tmp_path / "docs/resources.md").write_text("old")
    assert generate.main([*root, "--check"]) == 1
    assert capsys.readouterr().err == f"docs/resources.md is stale; run: {generate.COMMAND}\n"
