"""Helm for all tests here: it is built before the first of them."""

from __future__ import annotations

import shutil

import pytest

from tests.lab import helm
from tests.lab.errors import GoMissing


@pytest.fixture(scope="session")
def helm_programs() -> None:
    """Helm can be called, and so can kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl on the PATH")
    try:
        helm.ensure()
    except GoMissing as error:
        pytest.skip(str(error))
