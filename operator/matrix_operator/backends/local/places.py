"""The short temporary directory of a cluster: Ray puts unix sockets there, whose paths may have 107 bytes at most (unix(7))."""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.port import BackendRefusal

_SOCKET_LIMIT = 107
_LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/dash_UsageStatsHead"
"""Below the directory: Ray's session name with the longest pid, and the longest socket name that the launcher causes."""


def temporary_directory(uid: str, bases: tuple[Path, ...] | None = None) -> Path:
    """Where the cluster's directory is, or goes: found again from the uid alone. Raises BackendRefusal if no place is fit."""
    name = _name(uid)
    candidates = [base / name for base in bases or _bases()]
    for directory in candidates:
        if directory.is_dir() and not directory.is_symlink():
            return directory
    for directory in candidates:
        if len(os.fsencode(directory / _LONGEST_SOCKET)) <= _SOCKET_LIMIT and os.access(directory.parent, os.W_OK | os.X_OK):
            return directory
    tried = " and ".join(str(directory.parent) for directory in candidates)
    message = f"no place for unix sockets: {tried} can't be written to or have too long a path; set TMPDIR to a short, writable directory"
    raise BackendRefusal(ClusterReason.START_FAILED, message)


def make_directory(directory: Path) -> None:
    """Make it, for the owner alone. Raises BackendRefusal if somebody else made something of that name."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        message = f"{directory} exists, but is not a directory that you alone can use; remove it, or set TMPDIR to another place"
        raise BackendRefusal(ClusterReason.START_FAILED, message)


def remove_directories(uid: str, recorded: Path | None = None) -> None:
    """Remove the cluster's temporary directory, wherever it could have been made and where it was `recorded`. Raises OSError."""
    candidates = {base / _name(uid) for base in _bases()} | ({recorded} if recorded and recorded.name == _name(uid) else set())
    for directory in candidates:
        if directory.is_dir() and not directory.is_symlink() and directory.stat().st_uid == os.geteuid():
            shutil.rmtree(directory)


def ray_directory(directory: Path) -> Path:
    """Ray's temp dir. Ray opens it to everybody, so it lies one below ours."""
    return directory / "ray"


def session_directory(directory: Path) -> Path | None:
    """That of the current session; None if there is none (any more)."""
    ray = ray_directory(directory)
    try:
        session = ray / (ray / "session_latest").readlink()
    except OSError:
        # Each of Ray's workers replaces the link as it starts, so for a moment there is none (Node._init_temp in ray/_private/node.py).
        session = max(ray.glob("session_[0-9]*"), default=ray / "none")
    return session.resolve() if session.is_dir() else None


def temporary_directories() -> list[Path]:
    """Those of this user's clusters, wherever they could have been made."""
    found = (path for base in _bases() for path in base.glob(f"mx-*-{_user()[:8]}"))
    return sorted(path for path in found if _is_ours(path))


def _is_ours(path: Path) -> bool:
    try:
        seen = path.lstat()
    except FileNotFoundError:  # its cluster has just ended
        return False
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()


def _bases() -> tuple[Path, ...]:
    return tuple(dict.fromkeys((Path("/tmp"), Path(tempfile.gettempdir()))))


def _name(uid: str) -> str:
    return f"mx-{hashlib.sha256(uid.encode()).hexdigest()[:8]}-{_user()[:8]}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
