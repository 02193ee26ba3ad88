"""The chart's values: each documented, each in the schema, and no other."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from charts import values_table
from matrix_crds.constants import GROUP
from matrix_crds.registry import KINDS, parse
from tests.unit.chart.rendered import CHART, ROOT, VALUES

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())

KUBERNETES_OWN = (".resources", ".affinity")
"""Values whose fields are Kubernetes' own: the defaults have some of them."""


def objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of the schema whose fields are named, by its path."""
    if "properties" in schema:
        yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from objects(below, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from objects(schema["items"], f"{path}[]")


@pytest.mark.parametrize(("path", "found"), [pytest.param(path, found, id=path or "values") for path, found in objects(SCHEMA)])
def test_no_object_takes_fields_that_it_does_not_have(path: str, found: dict[str, Any]) -> None:
    assert found["type"] == "object" and found["additionalProperties"] is False


def test_the_schema_has_each_value_and_no_other() -> None:
    def same(schema: dict[str, Any], values: dict[str, Any], path: str) -> None:
        names = {name for name in schema["properties"] if (path, name) != ("", "global")}
        assert path in KUBERNETES_OWN or names == set(values), path
        for name, below in values.items():
            if isinstance(below, dict) and "properties" in schema["properties"][name]:
                same(schema["properties"][name], below, f"{path}.{name}")

    same(SCHEMA, DEFAULTS, "")


def test_the_defaults_and_the_examples_are_as_the_schema_says() -> None:
    validator = jsonschema.Draft7Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    for values in (DEFAULTS, *(yaml.safe_load(path.read_text()) for path in VALUES.glob("*.yaml"))):
        assert [error.message for error in validator.iter_errors(values)] == []


def test_the_page_has_the_table_of_the_values() -> None:
    text = values_table.PAGE.read_text()
    assert text == values_table.page(text, values_table.VALUES.read_text()), f"run: {values_table.COMMAND}"


def test_a_table_is_made_of_the_comments() -> None:
    source = (
        "# A group.\na:\n  # -- What b is,\n  # in two lines | with a bar.\n  b: [1]\n# -- What c is.\nc: {d: 1}\n# -- Nothing.\ne: ''\n"
    )
    assert values_table.table(source).splitlines()[2:] == [
        "| a.b | `[1]` | What b is, in two lines \\| with a bar. |",
        '| c | `{"d": 1}` | What c is. |',
        "| e |  | Nothing. |",
    ]


def test_a_value_without_a_comment_is_refused() -> None:
    with pytest.raises(values_table.Undocumented, match=r"line 3: a.b has no comment"):
        values_table.table("a:\n  # not one\n  b: 1\n")


def test_the_versions_are_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    operator, both = (yaml.safe_load((ROOT / "charts" / name / "Chart.yaml").read_text()) for name in ("matrix-operator", "matrix"))
    assert (operator["version"], operator["appVersion"], both["version"], both["appVersion"]) == (version,) * 4
    assert both["dependencies"][0]["version"] == version
    assert both["kubeVersion"] == operator["kubeVersion"]
    assert "dependencies" not in operator, "it is installed from a checkout, without a network"


def test_the_hub_of_charts_is_told_of_each_kind() -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    told = {crd["name"] for crd in yaml.safe_load(annotations["artifacthub.io/crds"])}
    assert told == {f"{info.plural}.{GROUP}" for info in KINDS}
    for example in yaml.safe_load(annotations["artifacthub.io/crdsExamples"]):
        parse(example)
