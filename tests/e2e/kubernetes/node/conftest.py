"""A model on the cluster that `--cluster` names, for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.kubernetes.node.world import World, at_work
from tests.lab.provision import Cluster


@pytest.fixture(scope="module")
def world(pods_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A namespace with an operator, and in it a cluster with a model, Ready."""
    if not pods_cluster.kuberay:
        pytest.skip("there is no KubeRay on this cluster")
    with at_work(pods_cluster, tmp_path_factory.mktemp("operator")) as world:
        world.create()
        world.ready()
        yield world
