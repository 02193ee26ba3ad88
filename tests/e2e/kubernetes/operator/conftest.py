"""Operators of a test, in its own namespace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kubernetes.operator.operators import Operators, operators
from tests.lab.control_plane import ControlPlane


@pytest.fixture
def crew(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Operators]:
    """Their lease is in the test's namespace, which is the one that they watch."""
    with operators(tmp_path, control_plane, namespace) as all_:
        yield all_
