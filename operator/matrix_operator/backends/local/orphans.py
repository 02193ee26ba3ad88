"""Clusters whose record is gone while their processes still run: a state directory that was deleted or lost."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from matrix_operator.backends.local.ending import Shutdown
from matrix_operator.backends.local.journal import Journal
from matrix_operator.backends.local.places import remove_directories
from matrix_operator.backends.local.procfs import MarkedProcess, Processes
from matrix_store.home import Home


@dataclass(frozen=True)
class Orphan:
    uid: str
    home: str
    """The state directory that it was recorded in."""
    pids: tuple[int, ...]
    what: str
    """Its parts in words."""


def find_orphans(processes: Processes | None = None) -> list[Orphan]:
    """Those of this user, of any state directory. Looks only. Raises ProcessesUnreadable."""
    by_cluster: dict[tuple[str, str], list[MarkedProcess]] = defaultdict(list)
    for process in (processes or Processes()).marked():
        by_cluster[process.uid, process.home].append(process)
    return [_orphan(uid, home, found) for (uid, home), found in sorted(by_cluster.items()) if _record_is_gone(uid, home)]


def end_orphan(uid: str, patience: float = 15.0) -> bool:
    """End every process of that orphan and remove its temporary directory; whether nothing is left. A cluster that has a record is
    not touched (False). Raises ProcessesUnreadable, OSError."""
    processes = Processes()
    if uid not in {orphan.uid for orphan in find_orphans(processes)}:
        return False
    if Shutdown(processes, lambda: datetime.now(UTC)).step(uid, patience):
        return False
    remove_directories(uid)
    return True


def _record_is_gone(uid: str, home: str) -> bool:
    return not home or not Journal(Home(Path(home)), uid).directory.exists()


def _orphan(uid: str, home: str, found: list[MarkedProcess]) -> Orphan:
    parts = ", ".join(sorted({process.part for process in found if process.part}))
    return Orphan(uid, home, tuple(sorted(process.identity.pid for process in found)), f"{len(found)} processes ({parts})")
