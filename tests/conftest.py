"""Which tests run beside each other under `pytest -n 2`: those of one group share labs, clusters and places of the machine, so one worker
runs them, one after the other. Most of them wait more than they work."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

GROUPS = {
    "tests/e2e/kubernetes": "kubernetes",
    "tests/e2e/chart": "kubernetes",
    "tests/e2e/slurm": "slurm",
    "tests/e2e": "ray",
}
"""By folder, the nearest one counts; any other file is a group of its own."""


def group_of(nodeid: str) -> str:
    """Of a test, by its id relative to the checkout."""
    file = nodeid.partition("::")[0]
    return next((GROUPS[str(folder)] for folder in PurePosixPath(file).parents if str(folder) in GROUPS), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Instead of xdist's own, which reads groups from marks, and loses them with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)
