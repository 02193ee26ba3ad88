"""Control groups that slurmd makes for the jobs of a node: they outlive everything else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_NEEDED = ("freezer", "memory")
_SECONDS = 20.0


def available() -> bool:
    """Whether slurmd can have them: Debian 12's needs systemd for version 2."""
    return all((_ROOT / name / "release_agent").exists() for name in _NEEDED)


def remove(nodes: Iterable[str]) -> None:
    """Those of these nodes, in which nothing runs any more. The kernel needs a moment for the last of their processes."""
    tops = [path for node in nodes for path in _ROOT.glob(f"*/slurm_{node}")]
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return _remove(tops)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _remove(tops: Iterable[Path]) -> None:
    for top in tops:
        for directory, _, _ in os.walk(top, topdown=False):
            Path(directory).rmdir()
