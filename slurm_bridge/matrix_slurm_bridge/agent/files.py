"""A cluster's directory on the shared file system, as the agent makes, reads and removes it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from matrix_slurm_bridge.agent.errors import Unusable
from matrix_slurm_bridge.cluster_directory import ClusterDirectory
from matrix_slurm_bridge.node.record import FILE, HeadRecord
from matrix_slurm_bridge.slurm.names import JobTag
from matrix_store.files import replace_file

CLUSTERS = "clusters"
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")


def directory_of(shared: Path, uid: str) -> ClusterDirectory:
    """Raises ValueError for what is no uid: it becomes a path, and what is there is deleted one day."""
    if not _UID.fullmatch(uid):
        raise ValueError(f"{uid!r} is no uid of a cluster")
    return ClusterDirectory(shared / CLUSTERS / uid)


def check_secret_names(names: Mapping[str, object]) -> None:
    """Raises ValueError for a name that is not one of a plain file."""
    for name in names:
        if not _SECRET_NAME.fullmatch(name):
            raise ValueError(f"{name!r} can't be the name of a secret")


def prepare(directory: ClusterDirectory, uid: str) -> None:
    """Make what is missing. head.json is there before the first job, for network file systems remember that a file was absent. Raises
    Unusable."""
    try:
        for path in (directory.path, directory.secrets, directory.logs, directory.nodes):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory.path / FILE).exists():
            replace_file(directory.path / FILE, HeadRecord(uid=uid).model_dump_json(by_alias=True).encode())
    except OSError as error:
        raise unusable(directory.path, error) from error


def write_secrets(directory: ClusterDirectory, secrets: Mapping[str, bytes], former: Mapping[str, str]) -> None:
    """The files, each for the owner alone and replaced in one step; those of `former` that are not among them go. Raises Unusable."""
    try:
        for name, content in secrets.items():
            path = directory.secrets / name
            if not path.exists() or path.read_bytes() != content:
                replace_file(path, content)
        for name in former.keys() - secrets.keys():
            (directory.secrets / name).unlink(missing_ok=True)
    except OSError as error:
        raise unusable(directory.secrets, error) from error


def read_record(directory: ClusterDirectory) -> HeadRecord | None:
    """None if there is none, or none that can be read: it is looked at again and again. Raises Unusable when the directory is away."""
    try:
        return HeadRecord.model_validate_json((directory.path / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    except OSError as error:
        raise unusable(directory.path, error) from error


def ask_to_drain(directory: ClusterDirectory, tag: JobTag, now: datetime) -> None:
    """Raises Unusable."""
    try:
        replace_file(directory.drain_file(tag), now.isoformat().encode())
    except OSError as error:
        raise unusable(directory.nodes, error) from error


def asked_to_drain(directory: ClusterDirectory, tag: JobTag) -> datetime | None:
    """When it was; None if it was not. Raises Unusable when that can't be known."""
    path = directory.drain_file(tag)
    try:
        return datetime.fromisoformat(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise unusable(directory.nodes, error) from error


def stand_by(directory: ClusterDirectory, tag: JobTag, waits: bool) -> None:
    """Whether the head of that job waits for its predecessor to end. Raises Unusable."""
    path = directory.standby_file(tag)
    try:
        if waits:
            replace_file(path, b"")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(directory.nodes, error) from error


def stands_by(directory: ClusterDirectory, tag: JobTag) -> bool:
    """Raises Unusable when that can't be known."""
    try:
        return directory.stands_by(tag)
    except OSError as error:
        raise unusable(directory.nodes, error) from error


def remove(directory: ClusterDirectory) -> None:
    """All of it. Raises Unusable."""
    try:
        if directory.path.is_dir():
            shutil.rmtree(directory.path)
    except OSError as error:
        raise unusable(directory.path, error) from error


def unusable(path: Path, error: OSError) -> Unusable:
    """In words, with what to do."""
    return Unusable(f"{error.filename or path}: {error.strerror}; free space or permissions there, it is tried again")
