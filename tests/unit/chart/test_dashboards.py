"""Grafana's dashboards ask for metrics that exist, by labels that they have. Grafana itself is not at hand: its format is checked here."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.chart.exported import exported, missing_labels
from tests.unit.chart.promql import asked

BOARDS = sorted((Path(__file__).parents[3] / "charts" / "matrix-operator" / "dashboards").glob("*.json"))
NEWEST_SCHEMA = 42
"""Grafana 12; older ones are migrated by Grafana when they are loaded."""
WIDTH = 24
BUILT_IN = {"__rate_interval"}


def board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def panels(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = board(path)["panels"]
    return found


def queries(path: Path) -> Iterator[tuple[str, str, str]]:
    """Title, expression and legend of each, those of the variables too."""
    for panel in panels(path):
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in board(path)["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            yield variable["name"], f"sum by ({label}) ({series})", ""


ALL = [pytest.param(path, title, expr, legend, id=f"{path.stem}: {title}") for path in BOARDS for title, expr, legend in queries(path)]


def test_there_are_those_that_the_chart_promises() -> None:
    assert [path.stem for path in BOARDS] == ["clusters", "models", "operator"]
    uids = [board(path)["uid"] for path in BOARDS]
    assert len(set(uids)) == len(uids) and all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in uids)


@pytest.mark.parametrize(("path", "title", "expression", "legend"), ALL)
def test_a_query_asks_for_what_is_exported(path: Path, title: str, expression: str, legend: str) -> None:
    asks = asked(expression)
    assert asks.names, "it asks for nothing"
    unknown = asks.names - exported().keys()
    assert not unknown, f"not exported: {unknown}"
    assert not missing_labels(asks)
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= asks.grouped


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_what_grafana_takes(path: Path) -> None:
    made = board(path)
    assert 36 <= made["schemaVersion"] <= NEWEST_SCHEMA
    assert made.get("id") is None, "Grafana gives it"
    ids = [panel["id"] for panel in made["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in made["panels"]:
        assert panel["title"]
        if panel["type"] != "row":
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
            references = [target["refId"] for target in panel["targets"]]
            assert references and len(set(references)) == len(references)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_do_not_lie_on_each_other(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = set(itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_variable_is_declared_and_used(path: Path) -> None:
    variables = board(path)["templating"]["list"]
    declared = [variable["name"] for variable in variables]
    assert declared[0] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([board(path)["panels"], [v.get("query") for v in variables]]))) - BUILT_IN
    assert used == set(declared)
