"""Prometheus reads the chart's alerts and the dashboards' queries, and each alert fires in its case."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.lab import promtool
from tests.unit.chart.test_alerts import CASES, FILES
from tests.unit.chart.test_dashboards import BOARDS, queries


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return promtool.ensure()
    except promtool.PromtoolMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("argv", [("check", "rules", *map(str, FILES)), ("test", "rules", str(CASES))], ids=["check", "test"])
def test_the_alerts(program: Path, argv: tuple[str, ...]) -> None:
    assert "SUCCESS" in told(program, *argv)


def test_every_query_of_the_dashboards(program: Path, tmp_path: Path) -> None:
    texts = [expr.replace("$__rate_interval", "5m") for path in BOARDS for _, expr, _ in queries(path)]
    assert texts
    rules = [{"record": f"query_{number}", "expr": text} for number, text in enumerate(texts)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(texts)} rules found" in told(program, "check", "rules", str(file))


def told(program: Path, *argv: str) -> str:
    done = subprocess.run([str(program), *argv], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
