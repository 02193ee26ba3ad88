"""What the chart makes, field by field, for other versions of Kubernetes: the oldest that Chart.yaml names, the lab's, and a newer one."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import pytest
import yaml

from tests.lab import build, openapi
from tests.unit.chart import rendered

VERSIONS = ("v1.29.15", build.kubernetes_version(), "v1.37.0")
OF_OTHERS = ("monitoring.coreos.com", "gateway.networking.k8s.io")
"""Kinds that no Kubernetes has by itself."""

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("go") is None, reason="there is no go, which fetches the schemas"),
]


def objects(case: str) -> list[dict[str, Any]]:
    kinds = [yaml.safe_load(path.read_text()) for path in sorted((rendered.ROOT / "crds").glob("*.yaml"))]
    return [found for found in [*rendered.objects(case), *kinds] if not found["apiVersion"].startswith(OF_OTHERS)]


def test_the_oldest_is_the_one_that_the_chart_names() -> None:
    chart = yaml.safe_load((rendered.CHART / "Chart.yaml").read_text())
    oldest = VERSIONS[0].removeprefix("v").rpartition(".")[0]
    assert chart["kubeVersion"].startswith(f">={oldest}.")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", rendered.CASES)
def test_every_field_is_known(case: str, version: str) -> None:
    found = {f"{made['kind']} {made['metadata']['name']}": openapi.problems(made, version) for made in objects(case)}
    assert len(found) >= 8
    assert {name: told for name, told in found.items() if told} == {}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda made: made["spec"]["template"]["spec"].update(hostNetworks=True), "hostNetworks"),
        (lambda made: made["spec"].update(replicas="two"), "'two' is not of type 'integer'"),
        (lambda made: made.update(apiVersion="apps/v1beta1"), "has no Deployment of apps/v1beta1"),
        (lambda made: made["spec"]["template"]["spec"]["containers"][0].pop("name"), "'name' is a required property"),
    ],
)
def test_what_is_wrong_is_seen(spoil: Any, told: str) -> None:
    (made,) = (copy.deepcopy(found) for found in rendered.objects("default") if found["kind"] == "Deployment")
    assert openapi.problems(made, build.kubernetes_version()) == []
    spoil(made)
    (problem,) = openapi.problems(made, build.kubernetes_version())
    assert told in problem
