from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.slurm.commands.someone import Someone
from tests.lab.slurm.lab import SlurmLab


@pytest.fixture
def alice(slurm_lab: SlurmLab) -> Iterator[Someone]:
    """A user; at the end the nodes are idle again."""
    yield Someone(slurm_lab, "alice")
    slurm_lab.cancel_all()


@pytest.fixture
def bob(slurm_lab: SlurmLab, alice: Someone) -> Someone:
    """Another one."""
    return Someone(slurm_lab, "bob")
