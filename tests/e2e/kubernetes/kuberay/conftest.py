"""Who makes pods of RayClusters: the stand-in, or with `--kuberay=existing` KubeRay on the cluster that `--cluster` names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.kubernetes.kuberay.ray_clusters import RayClusters
from tests.lab.control_plane import ControlPlane
from tests.lab.kuberay.standin import InThread


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("kubernetes").addoption("--kuberay", choices=["standin", "existing"], default="standin", help="whose facts are tested")


def _existing(config: pytest.Config) -> bool:
    return bool(config.getoption("--kuberay", "standin") == "existing")


@pytest.fixture
def rays(request: pytest.FixtureRequest) -> Iterator[RayClusters]:
    """RayClusters in a namespace of their own; all knobs of the stand-in are as by default."""
    if not _existing(request.config):
        plane: ControlPlane = request.getfixturevalue("control_plane")
        standin: InThread = request.getfixturevalue("kuberay")
        yield RayClusters(plane.api, request.getfixturevalue("namespace"), "example.org/ray:test", standin)
        return
    cluster = request.getfixturevalue("cluster")
    assert cluster.kuberay == "real", "--kuberay=existing wants a cluster on which KubeRay runs"
    with cluster.namespace() as namespace:
        yield RayClusters(cluster.api, namespace, cluster.image, None)


@pytest.fixture
def knobs(rays: RayClusters) -> InThread:
    """What only the stand-in can be made to do."""
    if rays.standin is None:
        pytest.skip("wants the stand-in for KubeRay, which can be told what to do wrong")
    return rays.standin
