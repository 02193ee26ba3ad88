"""The charts themselves, by Helm: sound, tested, and rendered as they were looked at. No cluster is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.lab import helm
from tests.lab.errors import GoMissing, LabError
from tests.unit.chart.rendered import CHART, COMMAND, KUSTOMIZE, ROOT, VALUES, goldens

BOTH = ROOT / "charts" / "matrix"
LEAST_CASES = 70


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    try:
        helm.ensure()
    except GoMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("values", [[], *(["--values", str(path)] for path in sorted(VALUES.glob("*.yaml")))])
def test_helm_finds_nothing_to_complain_of(values: list[str]) -> None:
    assert "0 chart(s) failed" in helm.helm("lint", "--strict", str(CHART), *values)


def test_the_charts_own_tests_pass() -> None:
    report = helm.unittest(CHART)
    passed = re.search(r"^Tests:\s+(\d+) passed, (\d+) total$", report, re.MULTILINE)
    assert passed, report
    assert int(passed[1]) == int(passed[2]) >= LEAST_CASES


def test_it_is_rendered_as_it_was_looked_at() -> None:
    for path, text in goldens().items():
        assert path.read_text() == text, f"look at the difference; if it is meant, run: {COMMAND}"


def test_a_package_has_no_tests_and_all_else(tmp_path: Path) -> None:
    helm.helm("package", str(CHART), "--destination", str(tmp_path))
    (archive,) = tmp_path.glob("*.tgz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    packed = {str(path.relative_to(tmp_path / "matrix-operator")) for path in (tmp_path / "matrix-operator").rglob("*") if path.is_file()}
    here = {str(path.relative_to(CHART)) for path in CHART.rglob("*") if path.is_file()}
    assert packed == {name for name in here if not name.startswith("tests/") and name != ".helmignore"} | {".helmignore"}


def test_a_release_fits_into_its_secret(tmp_path: Path) -> None:
    """Helm keeps chart and manifests in one, twice in base64: 1 MiB is what etcd takes."""
    helm.helm("package", str(CHART), "--destination", str(tmp_path))
    (archive,) = tmp_path.glob("*.tgz")
    rendered = helm.helm("template", "matrix", str(CHART), "--set", "dashboards.enabled=true,prometheusRule.enabled=true")
    assert archive.stat().st_size < 200_000 and len(rendered) < 500_000


def test_kubectl_makes_the_same_of_the_kustomize_base() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl on the PATH")
    done = subprocess.run(["kubectl", "kustomize", str(KUSTOMIZE)], text=True, capture_output=True, timeout=60, check=True)
    made = {(found["kind"], found["metadata"]["name"]): found for found in yaml.safe_load_all(done.stdout)}
    files = [one for path in KUSTOMIZE.glob("*.yaml") if path.name != "kustomization.yaml" for one in yaml.safe_load_all(path.read_text())]
    assert made == {(found["kind"], found["metadata"]["name"]): found for found in files}


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A copy of the chart with both operators, where a chart that KubeRay's stands for has been fetched to."""
    shutil.copytree(BOTH, tmp_path / "charts" / "matrix", ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    fetched = tmp_path / "charts" / "matrix" / "charts"
    shutil.copytree(CHART, fetched / "matrix-operator")
    (fetched / "kuberay-operator" / "templates").mkdir(parents=True)
    (fetched / "kuberay-operator" / "Chart.yaml").write_text("apiVersion: v2\nname: kuberay-operator\nversion: 1.7.0\n")
    (fetched / "kuberay-operator" / "templates" / "it.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kuberay}\n")
    return tmp_path / "charts" / "matrix"


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_kuberay_comes_along_or_not(both: Path, enabled: str) -> None:
    assert "0 chart(s) failed" in helm.helm("lint", "--strict", str(both))
    names = [found["metadata"]["name"] for found in helm.render(both, "--set", f"kuberay-operator.enabled={enabled}")]
    assert ("kuberay" in names) is (enabled == "true")
    assert "matrix-operator" in names


def test_a_value_of_the_part_is_refused_in_the_whole(both: Path) -> None:
    with pytest.raises(LabError, match="additional properties 'replica' not allowed"):
        helm.render(both, "--set", "matrix-operator.replica=3")


def test_what_is_declared_and_not_fetched_is_said() -> None:
    with pytest.raises(LabError, match="kuberay-operator"):
        helm.render(BOTH)
