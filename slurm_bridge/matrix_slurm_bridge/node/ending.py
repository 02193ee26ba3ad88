"""Ending what a run of a job has started, and nothing else.

Without cgroups Slurm ends what it finds below the batch script and misses the rest: raylets that lead sessions of their own, and workers
whose parents died. So the program ends all of it itself; and for the case that the program is killed, a guardian does it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from matrix_slurm_bridge.node.places import Place, remove_place
from matrix_slurm_bridge.node.procfs import family
from matrix_store.process_identity import ProcessIdentity

GUARDIAN_PATIENCE_SECONDS = 60.0
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

Look = Callable[[], list[ProcessIdentity]]


def adopt_orphans() -> None:
    """From now on a descendant whose parent has died becomes this process's child: none is lost from the family."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> None:
    """Take leave of children that have ended; their zombies would stay as long as this process."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_all(look: Look, patience: float, sleep: Callable[[float], None] = time.sleep) -> list[ProcessIdentity]:
    """SIGKILL all that `look` finds, and what they start meanwhile; who is left after `patience` seconds. Raises OSError."""
    deadline = time.monotonic() + patience
    while left := look():
        for process in left:
            signal_process(process, signal.SIGKILL)
        if time.monotonic() >= deadline:
            break
        sleep(0.02)
    return left


def signal_process(process: ProcessIdentity, number: signal.Signals) -> bool:
    """Signal that very process; whether it was there. The handle is opened first and the identity checked after: a pid that is used again
    in between can't be hit."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except OSError:  # Linux before 5.3 has no such handles: checking just before is the best that can be done
        if process.alive():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
                return True
        return False
    try:
        if not process.alive():
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def start_guardian(marker: str, place: Place) -> int:
    """A process beside this one that does nothing until this one is gone: then it kills what carries the marker and removes the place.
    It outlives its parent's death because it is nobody's child and takes no SIGTERM. Returns the end of a pipe that must stay open.

    Forked, so call it while the process is small and has one thread."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(writing)
            _guard(reading, marker, place)
        os._exit(0)
    os.close(reading)
    os.waitpid(child, 0)
    return writing


def _guard(reading: int, marker: str, place: Place) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    try:
        os.chdir("/")
        while os.read(reading, 1):
            pass
        without = frozenset({os.getpid()})
        kill_all(lambda: family(marker, without=without), GUARDIAN_PATIENCE_SECONDS)
        remove_place(place)
    finally:
        os._exit(0)
