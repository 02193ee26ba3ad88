"""The control groups of pods. They are the one thing that outlives the node's namespaces, and kubelet names them itself."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab.errors import LabError

_ROOT = Path("/sys/fs/cgroup")
_NAME = "kubepods"
_SHARES = "10240"


def remove() -> None:
    """Those without processes in them; one group of each kind with version 1, one in all with version 2."""
    for top in _tops():
        for directory, _, _ in os.walk(top, topdown=False):
            Path(directory).rmdir()


def favour() -> None:
    """Gives pods as much time as ten busy processes get that are in no group: with version 1 they would have as much as two, whatever their
    number, and Ray does not come up in a tenth of its CPU (its own 30 s for that can't be set)."""
    shares = _ROOT / "cpu" / _NAME / "cpu.shares"
    if shares.exists():
        shares.write_text(_SHARES)


def require_none() -> None:
    """Removes what a killed node left. Raises LabError when there are pods: then this machine is somebody's node already."""
    try:
        remove()
    except OSError as error:
        raise LabError(f"this machine is a Kubernetes node already: {error.filename} is in use") from error


def _tops() -> list[Path]:
    return [path for path in (_ROOT / _NAME, *_ROOT.glob(f"*/{_NAME}")) if path.is_dir()]
