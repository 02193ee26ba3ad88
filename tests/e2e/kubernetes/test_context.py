"""`matrix --context kubernetes` and `Matrix("kubernetes")`: as on one machine, through the API server alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from matrix_client import Matrix
from matrix_client.kubernetes_context import KubernetesContext
from tests.lab.control_plane import ControlPlane

ROOT = Path(__file__).parents[3]
QUICKSTART = str(ROOT / "examples" / "quickstart.yaml")
COMMAND_SECONDS = 120.0


class Cli:
    """`matrix` with a kubeconfig, in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str, home: Path) -> None:
        self._environ = os.environ | {"KUBECONFIG": str(kubeconfig), "MATRIX_HOME": str(home), "NO_COLOR": "1"}
        self._common = ["--context", "kubernetes", "-n", namespace]

    def __call__(self, *words: str, code: int = 0) -> str:
        """What it printed, to stdout if it went well and to stderr if not."""
        argv = [sys.executable, "-m", "matrix_cli", *words, *self._common]
        done = subprocess.run(argv, env=self._environ, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr or done.stdout if code else done.stdout


@pytest.fixture
def matrix(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Cli:
    return Cli(control_plane.kubeconfig, namespace, tmp_path / "home")


def test_a_manifest_is_applied_shown_changed_and_deleted(matrix: Cli, namespace: str, tmp_path: Path) -> None:
    made = [f"MatrixCluster/{namespace}/quickstart created", f"ModelDeployment/{namespace}/smollm2 created"]
    assert matrix("apply", QUICKSTART).splitlines() == made
    assert "unchanged" in matrix("apply", QUICKSTART)
    assert [line.split()[0] for line in matrix("get", "mxc").splitlines()] == ["NAME", "quickstart"]
    assert "Waits for:  the controller to look at it" in matrix("describe", "mxd/smollm2")
    why = matrix("why", "mxd/smollm2", code=1)
    assert "no operator is installed" in why and f"`matrix --context kubernetes -n {namespace} operator run`" in why
    assert matrix("scale", "mxd/smollm2", "--replicas", "3") == f"ModelDeployment/{namespace}/smollm2 scaled from 1 to 3\n"
    assert "-  replicas: 3\n+  replicas: 1" in matrix("apply", "--dry-run", QUICKSTART)
    assert json.loads(matrix("get", "mxd/smollm2", "-o", "json"))["spec"]["replicas"] == 3
    assert f"ModelDeployment/{namespace}/smollm2" in matrix("wait", "mxd/smollm2", "--timeout", "1s", code=4)
    matrix("down", QUICKSTART)
    assert matrix("get", "-o", "name") == ""
    assert not (tmp_path / "home").exists()


def test_what_is_not_there_is_said_as_on_one_machine(matrix: Cli) -> None:
    matrix("apply", QUICKSTART)
    assert "did you mean" in matrix("get", "mxd/smollm", code=3)


def test_what_is_only_on_one_machine_says_so(matrix: Cli) -> None:
    assert "only in the context local" in matrix("controller", "status", code=2)
    assert "`kubectl logs`" in matrix("logs", "controller", code=2)


def test_waiting_for_what_nobody_works_on_ends_with_the_reason(matrix: Cli) -> None:
    assert "nobody works on the objects: no operator is installed" in matrix("up", QUICKSTART, code=5)


def test_a_script_sees_the_same_objects(matrix: Cli, control_plane: ControlPlane, namespace: str) -> None:
    matrix("apply", QUICKSTART)
    with Matrix(KubernetesContext(kubeconfig=control_plane.kubeconfig), namespace=namespace) as client:
        deployment = client.get("mxd", "smollm2")
        assert deployment.metadata.name == "smollm2"
        client.delete(deployment)
        assert client.list("mxd") == []
    with Matrix(KubernetesContext(kubeconfig=control_plane.kubeconfig)) as client:
        assert client.list("mxd") == []
