"""Ending processes that are provably ours, and no others."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from matrix_operator.backends.local.journal import DASHBOARD, GCS, LAUNCHER
from matrix_operator.backends.local.procfs import MarkedProcess, Processes
from matrix_operator.backends.local.restart import is_due
from matrix_operator.backends.local.view import is_part
from matrix_store.process_identity import ProcessIdentity

GRACE = timedelta(seconds=3)
"""Between asking and killing."""

Choice = Callable[[MarkedProcess], bool]


def send(
    processes: Processes,
    identity: ProcessIdentity,
    uid: str,
    number: signal.Signals,
    open_handle: Callable[[int], int] = os.pidfd_open,
) -> bool:
    """Signal that very process if it carries the marker of cluster `uid`; whether it was signalled. Raises ProcessesUnreadable.

    The handle is opened first and the identity checked after: a pid that is used again in between can't be hit.
    """
    try:
        handle = open_handle(identity.pid)
    except OSError as error:
        # Linux before 5.3 has no such handles: there, checking just before is the best that can be done.
        return error.errno == errno.ENOSYS and processes.ours(identity, uid) and _signalled(os.kill, identity.pid, number)
    try:
        return processes.ours(identity, uid) and _signalled(signal.pidfd_send_signal, handle, number)
    finally:
        os.close(handle)


def _signalled(how: Callable[[int, int], None], target: int, number: signal.Signals) -> bool:
    try:
        how(target, number)
    except ProcessLookupError:
        return False
    return True


def send_all(processes: Processes, found: Iterable[MarkedProcess], number: signal.Signals) -> None:
    for process in found:
        send(processes, process.identity, process.uid, number)


def kill_all(processes: Processes, uid: str, choice: Choice, patience: float) -> list[MarkedProcess]:
    """SIGKILL every process of cluster `uid` that `choice` picks, and what they start meanwhile; who is left after `patience`
    seconds. Raises ProcessesUnreadable."""
    deadline = time.monotonic() + patience
    while left := [process for process in processes.marked(uid) if choice(process)]:
        send_all(processes, left, signal.SIGKILL)
        if time.monotonic() >= deadline:
            break
        time.sleep(0.02)
    return left


class Shutdown:
    """Ends all processes of clusters: asks first, in an order in which each part can still say goodbye, then kills."""

    def __init__(self, processes: Processes, clock: Callable[[], datetime]) -> None:
        self._processes = processes
        self._clock = clock
        self._begun: dict[str, datetime] = {}
        """By uid. After a restart of this process the grace is simply given again."""

    def step(self, uid: str, patience: float) -> list[MarkedProcess]:
        """Go on with ending cluster `uid` for `patience` seconds at most; what is left of it. Raises ProcessesUnreadable."""
        begun = self._begun.setdefault(uid, self._clock())
        asked: set[ProcessIdentity] = set()
        deadline = time.monotonic() + patience
        while (left := self._processes.marked(uid)) and time.monotonic() < deadline:
            if is_due(begun, GRACE, self._clock()):
                kill_all(self._processes, uid, lambda _: True, deadline - time.monotonic())
            else:
                self._ask(left, asked)
                time.sleep(0.05)
        if not left:
            del self._begun[uid]
        return left

    def _ask(self, left: list[MarkedProcess], asked: set[ProcessIdentity]) -> None:
        """The launcher is killed, so that nothing new starts; raylets end their workers; dashboard and GCS are needed until then."""
        send_all(self._processes, (process for process in left if process.part == LAUNCHER), signal.SIGKILL)
        first = min((_rank(process) for process in left if process.part != LAUNCHER), default=0)
        turn = [p for p in left if _rank(p) == first and is_part(p.part, p.argv) and p.identity not in asked]
        send_all(self._processes, turn, signal.SIGTERM)
        asked.update(process.identity for process in turn)


def _rank(process: MarkedProcess) -> int:
    return {DASHBOARD: 1, GCS: 2}.get(process.part, 0)
