"""What the CLI asks the operator: logs, Rays that lost their owner, what a change does. It needs the extra `operator`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matrix_cli.causes import OrphanedRay

if TYPE_CHECKING:
    from matrix_store.home import Home
    from matrix_store.port import StoredObject


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


def replaces_replicas(before: StoredObject, after: StoredObject) -> bool | None:
    """Whether a change of a ModelDeployment starts its replicas anew; None where that can't be said from here."""
    from matrix_crds.deployment import ModelDeployment
    from matrix_crds.errors import ManifestError

    try:
        from matrix_operator.backends.port import RuntimeLayout
        from matrix_operator.serve_config import version_of
    except ImportError:
        return None
    anywhere = RuntimeLayout(0, "", 0, 0, "", "", "")  # the same on both sides, so it does not matter
    try:
        old, new = before.resource, after.resource
    except ManifestError:
        return None
    if not isinstance(old, ModelDeployment) or not isinstance(new, ModelDeployment):
        return None
    return version_of(old, anywhere) != version_of(new, anywhere)


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
