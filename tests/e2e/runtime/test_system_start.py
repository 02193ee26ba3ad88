"""What Serve has given up on, on a real Ray: mx-system comes up by another attempt, and by nothing less."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.e2e.runtime.ray_cluster import RayCluster, eventually

pytestmark = pytest.mark.timeout(900)  # a start of Ray's parts, on a machine that may be busy


@pytest.fixture
def bare() -> Iterator[RayCluster]:
    """A Ray without mx-system."""
    cluster = RayCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def status(cluster: RayCluster) -> str:
    applications = (cluster.serve_status() or {}).get("applications", {})
    return str(applications.get("mx-system", {}).get("status"))


def gateways(cluster: RayCluster) -> list[int]:
    return [process.pid for process in cluster.titled("mx-system:Gateway")]


def test_a_directory_that_could_not_start_is_started_by_another_attempt_and_its_gateway_left_alone(bare: RayCluster) -> None:
    with socket.create_server(("127.0.0.1", bare.state_port)):
        bare.put_system()
        eventually(lambda: status(bare) == "DEPLOY_FAILED", 180, "Serve gives up")
    before = gateways(bare)
    bare.put_system()
    with pytest.raises(AssertionError):
        eventually(lambda: status(bare) == "RUNNING", 10, "the same configuration starts it")
    bare.put_system(attempt=2)
    eventually(lambda: status(bare) == "RUNNING", 120, "mx-system runs")
    eventually(bare.state, 60, "mx-system answers")
    assert gateways(bare) == before
