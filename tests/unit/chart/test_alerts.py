"""Alerts ask for metrics that exist, fire when they should and only then, and say what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_crds.cluster import ClusterCondition
from matrix_crds.reasons import ClusterReason, DeploymentReason
from tests.unit.chart.exported import exported, missing_labels
from tests.unit.chart.promql import asked

CASES = Path(__file__).with_name("alerts.promtool.yaml")
FILES = sorted((Path(__file__).parents[3] / "charts" / "matrix-operator" / "alerts").glob("*.yaml"))
RULES: list[dict[str, Any]] = [rule for file in FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
each = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def test_names_are_ones_own_and_once() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) >= 12 and len(set(names)) == len(names)
    assert all(name.startswith("Matrix") for name in names)


@each
def test_an_alert_asks_for_what_is_exported(rule: dict[str, Any]) -> None:
    asks = asked(rule["expr"])
    assert asks.names and asks.names <= exported().keys()
    assert not missing_labels(asks)


@each
def test_an_alert_says_what_to_do_with_labels_that_it_has(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    texts = rule["annotations"]
    assert texts.keys() == {"summary", "description"}
    assert re.search(r"kubectl|helm|lease-name", texts["description"]) or rule["alert"] == "MatrixOperatorCallsFail"
    named = set(re.findall(r"\$labels\.(\w+)", "".join(texts.values())))
    assert named <= asked(rule["expr"]).grouped


@each
def test_reasons_and_conditions_are_those_that_objects_have(rule: dict[str, Any]) -> None:
    reasons = {str(reason) for kind in (ClusterReason, DeploymentReason) for reason in kind}
    for named in re.findall(r'reason[=!~]+"([^"]*)"', rule["expr"]):
        assert set(named.split("|")) <= reasons
    for named in re.findall(r'condition="([^"]*)"', rule["expr"]):
        assert named in {str(condition) for condition in ClusterCondition}


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    text = CASES.read_text()
    assert {rule["alert"] for rule in RULES} == set(re.findall(r'ALERTS\{alertname="(\w+)", alertstate="firing",', text))
