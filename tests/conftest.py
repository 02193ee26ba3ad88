"""Which tests run beside each other under `pytest -n 2 --dist loadgroup`: those of one group share labs, clusters and places of the
machine, so one worker runs them, one after the other. Most of them wait more than they work."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
GROUPS = {
    "e2e/kubernetes": "kubernetes",
    "e2e/chart": "kubernetes",
    "e2e/slurm": "slurm",
    "e2e": "ray",
}
"""By folder, the nearest one first; any other file is a group of its own."""


@pytest.hookimpl(tryfirst=True)  # before xdist's own, which reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(ROOT)
        folders = (str(folder) for folder in place.parents)
        group = next((GROUPS[folder] for folder in folders if folder in GROUPS), str(place))
        item.add_marker(pytest.mark.xdist_group(group))
