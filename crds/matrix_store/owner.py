"""Who runs a controller, and whether that controller can still be there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from matrix_store.process_identity import PROC, ProcessIdentity, boot_id, start_ticks


@dataclass(frozen=True)
class Owner:
    """A process, wherever it runs."""

    host: str
    boot_id: str
    pid_namespace: str
    """Which pids it can see (namespaces(7)): a container has its own, and a pid means nothing in another one."""
    pid: int
    start_ticks: int

    @property
    def process(self) -> ProcessIdentity:
        return ProcessIdentity(self.pid, self.start_ticks, self.boot_id)


class Liveness(StrEnum):
    """What one look at an owner can say."""

    ALIVE = "Alive"
    GONE = "Gone"
    ELSEWHERE = "Elsewhere"  # on another host or in another container: only its heartbeat tells


def this_process(proc: Path = PROC) -> Owner:
    """The process that asks."""
    ticks = start_ticks((proc / "self" / "stat").read_text(errors="replace"))
    assert ticks is not None, "a process that runs this is no zombie"
    return Owner(os.uname().nodename, boot_id(proc), str((proc / "self" / "ns" / "pid").readlink()), os.getpid(), ticks)


def judge(owner: Owner, here: Owner, alive: Callable[[ProcessIdentity], bool] = ProcessIdentity.alive) -> Liveness:
    """Whether an owner is still there, by the identity of its process and never by a clock. `here` is the one that asks."""
    if owner.boot_id == here.boot_id:  # the same kernel, even if the host has been renamed
        if owner.pid_namespace != here.pid_namespace:
            return Liveness.ELSEWHERE
        return Liveness.ALIVE if alive(owner.process) else Liveness.GONE
    return Liveness.GONE if owner.host == here.host else Liveness.ELSEWHERE  # rebooted since, or another machine
