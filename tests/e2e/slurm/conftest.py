"""Real Slurms, each started once for all the tests that want that kind, and only if one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.slurm import cgroups
from tests.lab.slurm.lab import SlurmLab
from tests.lab.slurm.needs import SlurmMissing

MakeLab = Callable[..., SlurmLab]


@pytest.fixture(scope="session")
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLab]:
    """A lab of one's own, with the arguments of SlurmLab, until the end of the session."""
    with ExitStack() as stack:

        def make(**options: object) -> SlurmLab:
            directory: Path = tmp_path_factory.mktemp("slurm") / "lab"
            try:
                return stack.enter_context(SlurmLab(directory, **options))  # type: ignore[arg-type]
            except SlurmMissing as missing:
                pytest.skip(str(missing))

        yield make


@pytest.fixture(scope="session")
def slurm_lab(make_lab: MakeLab) -> SlurmLab:
    """Two nodes without control groups or accounting: the poorest site, where nothing is cleared away after a job."""
    return make_lab()


@pytest.fixture(scope="session")
def slurm_lab_with_cgroups(make_lab: MakeLab) -> SlurmLab:
    """Two nodes that hold jobs to their memory and end all that is left of them."""
    if not cgroups.available():
        pytest.skip("no control groups of version 1 for memory and the freezer on this machine")
    return make_lab(cgroups=True)


@pytest.fixture(scope="session")
def slurm_lab_with_accounting(make_lab: MakeLab) -> SlurmLab:
    """Two nodes, and slurmdbd: alice has an account, bob has none."""
    return make_lab(accounting=True)
