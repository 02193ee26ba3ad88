"""A state directory per test, empty or with a cluster and a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix_store.home import Home
from tests.unit.client.worlds import CHAT, LAB, World, condition, new_world, ready


@pytest.fixture(autouse=True)
def no_orphans(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has besides is told by some commands, and is not of these tests."""
    monkeypatch.setattr("matrix_operator.backends.local.orphans.find_orphans", lambda *_: [])


@pytest.fixture(autouse=True)
def no_real_controller(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It would start a Ray for what is in the store, and outlive the test."""
    wanted: list[Home] = []

    def refuse(home: Home) -> list[str]:
        wanted.append(home)
        raise AssertionError("no controller is started in these tests")

    monkeypatch.setattr("matrix_client.controller.controller_command", refuse)
    yield
    assert not wanted, "a command would have started a controller"


@pytest.fixture
def empty(tmp_path: Path) -> World:
    """Nothing in it, and no controller."""
    return new_world(tmp_path)


@pytest.fixture
def world(empty: World) -> World:
    """A cluster that is ready, a model that loads, and no controller."""
    empty.put(LAB, ready(backend="Local", workers={"desired": 0, "ready": 0, "display": "head only"}))
    conditions = [condition("Ready", "False", "Loading", "weights, 20 %"), condition("ClusterReady", "True", "Ready")]
    empty.put(CHAT, ready() | {"summary": "weights, 20 %", "model": "chat", "replicas": {"display": "0/1"}, "conditions": conditions})
    return empty


@pytest.fixture
def managed(world: World) -> Iterator[World]:
    """The same, with a controller that is alive and does nothing."""
    with world.controller():
        yield world


@pytest.fixture
def managed_empty(empty: World) -> Iterator[World]:
    """Nothing in it, with a controller that is alive and does nothing."""
    with empty.controller():
        yield empty
