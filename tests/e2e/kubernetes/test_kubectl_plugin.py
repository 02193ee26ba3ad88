"""`kubectl matrix` through a real kubectl: which cluster and which namespace it means, and what it completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.lab.control_plane import ControlPlane

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on the PATH")
SUSPENDED = "apiVersion: matrix.dev/v1alpha1\nkind: MatrixCluster\nmetadata: {name: lab}\nspec: {suspend: true}\n"


def kubectl(*words: str, kubeconfig: Path | None, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """With the plugin on the PATH, and an environment that speaks of another place."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MATRIX_CONTEXT": "local", "KUBECONFIG": str(kubeconfig or "/nonexistent")}
    return subprocess.run(["kubectl", *words], env=environment, input=stdin, text=True, capture_output=True, timeout=200, check=False)


@pytest.fixture
def kubeconfig(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Path:
    """With two contexts: `team`, the current one, in the test's namespace, and `away`, where nobody answers."""
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    user = config["users"][0]["name"]
    config["clusters"].append({"name": "away", "cluster": {"server": "http://127.0.0.1:1"}})
    config["contexts"] = [
        {"name": "team", "context": {"cluster": config["clusters"][0]["name"], "user": user, "namespace": namespace}},
        {"name": "away", "context": {"cluster": "away", "user": user}},
    ]
    config["current-context"] = "team"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_kubectl_finds_it(kubeconfig: Path) -> None:
    assert "kubectl-matrix" in kubectl("plugin", "list", kubeconfig=kubeconfig).stdout


def test_it_works_where_kubectl_works(kubeconfig: Path, namespace: str) -> None:
    applied = kubectl("matrix", "apply", "-f", "-", kubeconfig=kubeconfig, stdin=SUSPENDED)
    assert applied.returncode == 0, applied.stderr
    assert kubectl("get", "mxc", "-o", "name", "-n", namespace, kubeconfig=kubeconfig).stdout.strip() == "matrixcluster.matrix.dev/lab"
    assert "lab" in kubectl("matrix", "get", "mxc", kubeconfig=kubeconfig).stdout
    elsewhere = kubectl("matrix", "get", "mxc", "-n", "default", kubeconfig=kubeconfig)
    assert "nothing here in namespace default; start something with `kubectl matrix -n default up FILE`" in elsewhere.stderr
    told = kubectl("matrix", "why", "mxc/lab", kubeconfig=kubeconfig)
    assert told.returncode == 1 and "lab" in told.stdout and "`matrix " not in told.stdout


def test_a_context_is_one_of_the_kubeconfig(kubeconfig: Path) -> None:
    away = kubectl("matrix", "get", "--context", "away", kubeconfig=kubeconfig)
    assert away.returncode == 5 and "127.0.0.1:1" in away.stderr
    assert kubectl("matrix", "get", "--context", "team", kubeconfig=kubeconfig).returncode == 0


def test_a_kubeconfig_can_be_named(kubeconfig: Path) -> None:
    assert kubectl("matrix", "get", "--kubeconfig", str(kubeconfig), kubeconfig=None).returncode == 0
    assert kubectl("matrix", "get", kubeconfig=None).returncode != 0


def test_an_error_says_what_to_type(kubeconfig: Path) -> None:
    done = kubectl("matrix", "wyh", kubeconfig=kubeconfig)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: no command 'wyh'; did you mean 'why'?; see `kubectl matrix --help`"


def test_kubectls_own_completion_completes_it(kubeconfig: Path) -> None:
    done = kubectl("__complete", "matrix", "des", kubeconfig=kubeconfig)
    assert done.stdout.splitlines() == ["describe\tShow everything that is known about an object.", ":4"]
    assert ":0" in kubectl("__complete", "matrix", "apply", "", kubeconfig=kubeconfig).stdout.splitlines()
