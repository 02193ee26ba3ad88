"""The commands of docs/kubernetes.md, as they are written and in their order, on a cluster whose pods run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.page import ROOT, Block, Terminal, blocks
from tests.lab.provision import Cluster

PAGE = ROOT / "docs" / "kubernetes.md"

pytestmark = pytest.mark.timeout(700)


@pytest.fixture(scope="module")
def terminal(pods_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    if not pods_cluster.kuberay:
        pytest.skip("there is no KubeRay on this cluster")
    home = tmp_path_factory.mktemp("home")
    kubeconfig = home / "kubeconfig"
    shutil.copy(pods_cluster.kubeconfig, kubeconfig)
    with pods_cluster.namespace() as namespace:
        within = ["kubectl", "config", "set-context", "--current", f"--namespace={namespace}", f"--kubeconfig={kubeconfig}"]
        subprocess.run(within, check=True, capture_output=True, timeout=30)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        typed = Terminal({"HOME": str(home), "PATH": path, "KUBECONFIG": str(kubeconfig), "IMAGE": pods_cluster.image}, home)
        yield typed
        typed.close()


@pytest.mark.parametrize("block", blocks(PAGE), ids=lambda block: f"line-{block.line}")
def test_a_block_of_the_page_runs_as_written(terminal: Terminal, block: Block) -> None:
    terminal.must_run(block)


def test_the_page_has_its_main_commands() -> None:
    """Or the test above would prove nothing."""
    text = "".join(block.text for block in blocks(PAGE))
    assert all(
        command in text for command in ("--server-side -f crds/", "matrix operator run", "kubectl wait", "matrix chat", "kubectl delete")
    )
