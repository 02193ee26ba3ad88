"""Which processes belong to a run of a job, read from /proc.

Everything that a node's program starts has the run's marker in its environment, and children inherit it, so /proc/<pid>/environ proves
whose it is after a kill of the program, too. One that has cleared its environment is found as a descendant of one that has not.
(A title written over the environment would hide the marker: see SPT_NOENV in environment.py.)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from matrix_store.process_identity import PROC, ProcessIdentity, boot_id

MARKER = "MATRIX_SLURM_RUN"
_GONE = frozenset("ZXx")


@dataclass(frozen=True)
class Seen:
    """A living process."""

    pid: int
    parent: int
    start_ticks: int
    marked: bool


def family(marker: str, root: int | None = None, without: frozenset[int] = frozenset(), proc: Path = PROC) -> list[ProcessIdentity]:
    """Every living process of this user that carries the marker or descends from one that does, or from `root`. The root itself and
    those in `without` are left out. Raises OSError when /proc can't tell."""
    seen = {process.pid: process for process in _processes(marker, proc)}
    boot = boot_id(proc)
    ours = {pid for pid in seen if _belongs(pid, seen, root)}
    return [ProcessIdentity(pid, seen[pid].start_ticks, boot) for pid in sorted(ours - without - ({root} if root else set()))]


def _belongs(pid: int, seen: dict[int, Seen], root: int | None) -> bool:
    passed: set[int] = set()
    while pid in seen and pid not in passed:
        if seen[pid].marked or pid == root:
            return True
        passed.add(pid)
        pid = seen[pid].parent
    return False


def _processes(marker: str, proc: Path) -> list[Seen]:
    user = os.geteuid()
    found = []
    for entry in os.scandir(proc):
        if not entry.name.isdecimal():
            continue
        try:
            if entry.stat().st_uid == user and (process := _look(Path(entry.path), marker)):
                found.append(process)
        except OSError:
            continue  # gone meanwhile
    return found


def _look(directory: Path, marker: str) -> Seen | None:
    # Field 2, the name, is in parentheses and may hold spaces and parentheses itself.
    fields = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()
    if fields[0] in _GONE:
        return None
    return Seen(int(directory.name), int(fields[1]), int(fields[19]), _is_marked(directory, marker))


def _is_marked(directory: Path, marker: str) -> bool:
    try:
        environment = (directory / "environ").read_bytes()
    except OSError:
        return False
    return f"{MARKER}={marker}".encode() in environment.split(b"\0")
