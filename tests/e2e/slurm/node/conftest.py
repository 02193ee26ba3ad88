"""One cluster of head and two workers, on two nodes, for the tests of a module in their order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.slurm.node.cluster import Cluster
from tests.lab.slurm.lab import SlurmLab


@pytest.fixture(scope="module")
def cluster(slurm_lab: SlurmLab) -> Iterator[Cluster]:
    first, second = slurm_lab.nodes
    made = Cluster(slurm_lab, "alice")
    made.start_head(first)
    made.start_worker(first, 0)
    made.start_worker(second, 1)
    yield made
    slurm_lab.cancel_all()
