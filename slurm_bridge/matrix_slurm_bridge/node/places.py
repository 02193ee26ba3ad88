"""Where a job keeps its sockets, logs and Ray's state: a directory of its own on the node, gone with the job."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matrix_slurm_bridge.node.errors import NodeFailure

_SOCKET_LIMIT = 107
"""The longest path of a Unix socket (unix(7))."""
_LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/dash_UsageStatsHead"
"""Below the directory: Ray's session name with the longest pid, and the longest name of a socket in it."""
_SHORT = Path("/tmp")


@dataclass(frozen=True)
class Place:
    directory: Path
    """For the owner alone."""
    path: Path
    """The same by a path that is short enough for sockets: itself, or a link in /tmp."""

    @property
    def ray(self) -> Path:
        """Ray's temp dir. Ray opens it to everybody, so it lies one below ours."""
        return self.path / "ray"

    @property
    def gcs_storage(self) -> Path:
        return self.path / "gcs"

    @property
    def temporary(self) -> Path:
        """TMPDIR of all that runs: killed processes leave sockets and files there (vLLM does)."""
        return self.path / "tmp"


def choose_place(marker: str, configured: Path | None, environ: Mapping[str, str]) -> Place:
    """Where it will be; makes nothing. Raises NodeFailure if no place is fit."""
    name = f"mx-{hashlib.sha256(marker.encode()).hexdigest()[:10]}"
    bases = [configured] if configured else [Path(path) for path in (environ.get("SLURM_TMPDIR"), environ.get("TMPDIR"), "/tmp") if path]
    for base in bases:
        if base.is_dir() and os.access(base, os.W_OK | os.X_OK):
            directory = base / name
            return Place(directory, directory if _is_short(directory) else _SHORT / name)
    tried = " and ".join(str(base) for base in bases)
    fact = f"no place for Ray's files on {os.uname().nodename}: {tried} can't be written to"
    raise NodeFailure(f"{fact}; correct localDirectory in the site's file")


def make_place(place: Place) -> None:
    """Raises NodeFailure if something of that name is there already, or nothing can be made."""
    try:
        place.directory.mkdir(mode=0o700)
        if place.path != place.directory:
            place.path.symlink_to(place.directory)
        place.temporary.mkdir()
    except OSError as error:
        raise NodeFailure(f"{error.filename} can't be made on {os.uname().nodename}: {error.strerror}") from error


def remove_place(place: Place) -> None:
    """What is left of it goes; what can't be removed stays."""
    if place.path != place.directory and place.path.is_symlink():
        place.path.unlink(missing_ok=True)
    shutil.rmtree(place.directory, ignore_errors=True)


def remove_session(place: Place) -> None:
    """What a Ray that has ended has left: a later one must not find its state or its sockets."""
    for path in (place.ray, place.gcs_storage):
        shutil.rmtree(path, ignore_errors=True)


def free_shared_memory() -> int:
    """Bytes in /dev/shm."""
    found = os.statvfs("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())
    return found.f_bavail * found.f_frsize


def _is_short(directory: Path) -> bool:
    return len(os.fsencode(directory / _LONGEST_SOCKET)) <= _SOCKET_LIMIT
