"""What the CLI asks the local backend: logs, and Rays that lost their owner. The backend needs the extra `operator`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matrix_cli.causes import OrphanedRay

if TYPE_CHECKING:
    from matrix_store.home import Home


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise click.ClickException(f"this needs {error.name}: pip install 'matrix-operator[operator]'") from error


def cluster_logs(home: Home, uid: str) -> dict[str, Path]:
    """The log files of a cluster by component, such as raylet, or serve/replica_..."""
    with _extra():
        from matrix_operator.backends.local.logs import log_files
    return log_files(home, uid)


def orphaned_rays() -> list[OrphanedRay]:
    """Rays of ours whose state directory is lost; none where the backend is not installed, for then none was started here."""
    try:
        from matrix_operator.backends.local.orphans import find_orphans
    except ImportError:
        return []
    return [OrphanedRay(orphan.uid, orphan.home, orphan.what) for orphan in find_orphans()]


def end_orphaned_ray(uid: str) -> bool:
    """End what is left of a cluster without a record; whether nothing is left. One that has a record is not touched (False)."""
    with _extra():
        from matrix_operator.backends.local.orphans import end_orphan
    return end_orphan(uid)
