"""The quickstart in pods: the file as it is, a real model on vLLM, an answer through the API server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.kubernetes.node.world import World, at_work
from tests.e2e.page import ROOT
from tests.lab import image
from tests.lab.provision import Cluster

QUICKSTART = str(ROOT / "examples" / "quickstart.yaml")
CLUSTER, MODEL = "quickstart", "smollm2"
QUESTION = "What is the capital of France?"
SECONDS = 900.0
"""Until the model answers: half of it is the model's conversion and vLLM's import, on two cores that others use, too."""

pytestmark = pytest.mark.timeout(2 * SECONDS)


@pytest.fixture
def world(pods_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A namespace with an operator, whose clusters get an image with vLLM."""
    if not pods_cluster.kuberay:
        pytest.skip("there is no KubeRay on this cluster")
    with_models = image.model_name() if pods_cluster.node else pods_cluster.image
    with at_work(pods_cluster, tmp_path_factory.mktemp("operator"), with_models) as world:
        yield world


def test_the_quickstart_answers_in_pods(world: World) -> None:
    begun = time.monotonic()
    kubectl(world, "apply", "-f", QUICKSTART)
    world.ready(SECONDS, CLUSTER, MODEL)
    print(f"\ncluster and model were Ready after {time.monotonic() - begun:.0f} s")
    asked = world.matrix("chat", MODEL, "--temperature", "0", QUESTION)
    answer, complaints = asked.communicate(timeout=SECONDS)
    assert asked.returncode == 0, complaints
    assert answer.strip() == "The capital of France is Paris."
    kubectl(world, "delete", "-f", QUICKSTART, "--timeout", "300s")
    assert not world.pods(name=CLUSTER)


def kubectl(world: World, *arguments: str) -> None:
    where = ("--kubeconfig", str(world.cluster.kubeconfig), "--namespace", world.namespace)
    done = subprocess.run(["kubectl", *where, *arguments], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
