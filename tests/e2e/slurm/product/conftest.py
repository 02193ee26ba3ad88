"""Alice, with a site's file, on a Slurm of her own tests; and a table of what was measured, below pytest's own summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.slurm.conftest import MakeLab
from tests.e2e.slurm.product.login import Login

Report = Callable[[str], None]
NODES = 3
SHARED_MEGABYTES = 256
"""So small that a test can fill it, and as much as `matrix bridge doctor` asks for."""
_LINES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_LINES]:
        terminalreporter.section("measured on Slurm")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """Adds a line to the table."""
    return pytestconfig.stash[_LINES].append


@pytest.fixture(scope="module")
def newcomer(make_lab: MakeLab) -> Iterator[Login]:
    """Alice, who has done nothing yet. What she leaves running ends with the lab's machines."""
    lab = make_lab(nodes=NODES, logins=2, shared_megabytes=SHARED_MEGABYTES)
    user = lab.users["alice"]
    login = Login(lab, user)
    login.shared.mkdir(mode=0o700)
    os.chown(login.shared, user.uid, user.uid)
    yield login
    lab.cancel_all()


@pytest.fixture(scope="module")
def alice(newcomer: Login) -> Login:
    """She has a site's file."""
    newcomer.matrix("bridge", "init")
    return newcomer
