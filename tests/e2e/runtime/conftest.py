from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest imports test files by path (importmode importlib), so a helper beside them is put in place by hand.
_spec = importlib.util.spec_from_file_location("runtime_ray_cluster", Path(__file__).with_name("ray_cluster.py"))
assert _spec is not None and _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["runtime_ray_cluster"] = _module
_spec.loader.exec_module(_module)
RayCluster = _module.RayCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """A Ray with mx-system on it."""
    cluster = RayCluster()
    try:
        cluster.start()
        cluster.put_system()
        _module.eventually(cluster.state, 60, "mx-system answers")
        yield cluster
    finally:
        cluster.stop()
