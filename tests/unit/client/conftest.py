"""A state directory with a cluster, for the tests of requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.client.directory import TOKEN
from tests.unit.client.worlds import LAB, World, new_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = new_world(tmp_path)
    world.put(LAB)
    world.client_token(LAB, TOKEN + "\n")
    return world
