from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.runtime.ray_cluster import RayCluster, eventually


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayCluster]:
    """A Ray with mx-system on it."""
    cluster = RayCluster()
    try:
        cluster.start()
        cluster.put_system()
        eventually(cluster.state, 240, "mx-system answers")
        yield cluster
    finally:
        cluster.stop()
