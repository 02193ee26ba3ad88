"""Which processes are ours, read from /proc.

Every process of a cluster is started with the cluster's marker in its environment and children inherit it, so /proc/<pid>/environ
proves whose it is, whatever was lost. (A process title written over its environment would hide that: see SPT_NOENV in environment.py.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matrix_store.process_identity import PROC, ProcessIdentity, identify

MARKER_UID = "MATRIX_CLUSTER_UID"
"""The uid of the cluster that a process belongs to."""
MARKER_HOME = "MATRIX_HOME"
"""The state directory that the cluster is recorded in."""
MARKER_PART = "MATRIX_CLUSTER_PART"
"""The part of the cluster that it is or descends from: gcs, dashboard, raylet, a worker's name, launcher."""

_KTHREADD = "2"
_EXITING = 0x4
"""In a process' flags (PF_EXITING, linux/sched.h)."""
_EXEC_ATTEMPTS, _EXEC_PAUSE_SECONDS = 500, 0.002
"""On a busy machine the kernel may take a process from its CPU in the midst of execve."""


class ProcessesUnreadable(Exception):
    """/proc does not answer: nothing may be concluded. The text says why."""


@dataclass(frozen=True)
class MarkedProcess:
    """A living process that carries a cluster's marker."""

    identity: ProcessIdentity
    uid: str
    home: str
    part: str
    argv: tuple[str, ...]
    leads_session: bool


class Processes:
    """The processes of this user, as /proc (or, in tests, a copy of its layout) shows them."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc

    def ours(self, identity: ProcessIdentity, uid: str) -> bool:
        """Whether that very process still runs and carries the marker of cluster `uid`. Raises ProcessesUnreadable."""
        return self._environment(identity.pid).get(MARKER_UID) == uid and self._identify(identity.pid) == identity

    def marked(self, uid: str | None = None) -> list[MarkedProcess]:
        """Every living process of this user with a marker, or with that of cluster `uid`. Raises ProcessesUnreadable."""
        found = (self._marked_process(pid) for pid in self._own_pids())
        return [process for process in found if process is not None and uid in (None, process.uid)]

    def _own_pids(self) -> Iterator[int]:
        user = os.geteuid()
        try:
            entries = [entry for entry in os.scandir(self._proc) if entry.name.isdecimal()]
        except OSError as error:
            raise _unreadable(error) from error
        for entry in entries:
            try:
                if entry.stat().st_uid == user:
                    yield int(entry.name)
            except OSError:
                continue  # gone meanwhile

    def _marked_process(self, pid: int) -> MarkedProcess | None:
        environment = self._environment(pid)
        if MARKER_UID not in environment or (identity := self._identify(pid)) is None:
            return None
        return MarkedProcess(
            identity=identity,
            uid=environment[MARKER_UID],
            home=environment.get(MARKER_HOME, ""),
            part=environment.get(MARKER_PART, ""),
            argv=tuple(self._strings(pid, "cmdline")),
            leads_session=self._leads_session(pid),
        )

    def _identify(self, pid: int) -> ProcessIdentity | None:
        try:
            return identify(pid, self._proc)
        except OSError as error:
            raise _unreadable(error) from error

    def _environment(self, pid: int) -> dict[str, str]:
        """What the process was started with; empty if it is gone, a zombie, or not readable for us."""
        raw = self._strings(pid, "environ")
        attempts = _EXEC_ATTEMPTS
        while not raw and attempts and self._in_exec(pid):
            time.sleep(_EXEC_PAUSE_SECONDS)
            raw, attempts = self._strings(pid, "environ"), attempts - 1
        entries = (entry.partition("=") for entry in raw)
        return {name: value for name, equals, value in entries if equals}

    def _in_exec(self, pid: int) -> bool:
        """In the midst of execve, environment and arguments are empty for a moment. A kernel thread never has any, and one that ends has
        none any more."""
        stat = self._stat(pid)
        kernel_thread = str(pid) == _KTHREADD or (len(stat) > 1 and stat[1] == _KTHREADD)
        exiting = len(stat) > 6 and bool(int(stat[6]) & _EXITING)
        return bool(stat) and stat[0] not in "ZX" and not kernel_thread and not exiting and not self._strings(pid, "cmdline")

    def _strings(self, pid: int, file: str) -> list[str]:
        try:
            raw = (self._proc / str(pid) / file).read_bytes()
        except OSError:
            return []
        return os.fsdecode(raw).rstrip("\0").split("\0") if raw else []

    def _leads_session(self, pid: int) -> bool:
        return self._stat(pid)[3:4] == [str(pid)]

    def _stat(self, pid: int) -> list[str]:
        """State, parent, process group, session, terminal, its process group, flags, ...: fields 3 and up of proc(5)'s stat; empty if the
        process is gone."""
        try:
            text = (self._proc / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return []
        return text.rpartition(")")[2].split()


def _unreadable(error: OSError) -> ProcessesUnreadable:
    return ProcessesUnreadable(f"{error.filename} can't be read: {error.strerror}")
