"""The state directory: where it is, and what lies where in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matrix_store.errors import Unavailable
from matrix_store.faults import creation_error

DIRECTORY_MODE = 0o700
"""Logs, sockets and secrets are inside: nobody else may look."""


@dataclass(frozen=True)
class Home:
    """The layout of the state directory. Paths are only named here; `create` makes the directories."""

    root: Path

    @classmethod
    def resolve(cls, environ: Mapping[str, str] | None = None) -> Home:
        """$MATRIX_HOME, else $XDG_STATE_HOME/matrix, else ~/.local/state/matrix; always absolute."""
        environ = os.environ if environ is None else environ
        if own := environ.get("MATRIX_HOME"):
            return cls(Path(own).expanduser().absolute())
        state = environ.get("XDG_STATE_HOME", "")
        # The XDG specification: a relative path there is to be ignored.
        base = Path(state) if Path(state).is_absolute() else _user_home(environ) / ".local" / "state"
        return cls(base / "matrix")

    @property
    def database(self) -> Path:
        return self.root / "matrix.db"

    @property
    def controller_log(self) -> Path:
        return self.root / "controller.log"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials"

    @property
    def clusters(self) -> Path:
        return self.root / "clusters"

    def cluster(self, uid: str) -> Path:
        """What belongs to one cluster; named by uid, so that a new cluster of the same name never meets the old one's files."""
        return self.clusters / uid

    def create(self) -> None:
        """Make the directories that are missing, for the owner alone. Raises Unavailable."""
        for directory in (self.root, self.credentials, self.clusters):
            make_directory(directory)


def make_directory(directory: Path) -> None:
    """Make a directory, mode 0700, with its parents; one that exists is left as it is. Raises Unavailable."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise Unavailable(
            f"{error.filename} is not a directory, but {directory} must be one: move it, or set MATRIX_HOME to another place"
        ) from error
    except OSError as error:
        raise creation_error(error, directory) from error


def _user_home(environ: Mapping[str, str]) -> Path:
    if home := environ.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError as error:
        raise Unavailable("this user has no home directory: set MATRIX_HOME to a directory that you can write to") from error
