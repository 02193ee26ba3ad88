"""What Slurm tells a job: SIGTERM (it ends), SIGUSR1 (its time limit is near)."""

from __future__ import annotations

import select
import signal
import socket
from contextlib import suppress
from types import FrameType


class Signals:
    """Made once, in the main thread; from then on signals are remembered instead of ending the process."""

    def __init__(self) -> None:
        self.ending: signal.Signals | None = None
        self.time_is_short = False
        self._reading, writing = socket.socketpair()
        self._writing = writing
        self._reading.setblocking(False)
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)
        signal.signal(signal.SIGUSR1, self._hurry)
        signal.signal(signal.SIGCHLD, _wake)

    def wait(self, seconds: float, *descriptors: int) -> None:
        """Until a signal comes (a child's end is one), one of the descriptors can be read, or so long."""
        select.select([self._reading.fileno(), *descriptors], [], [], max(seconds, 0))
        with suppress(BlockingIOError):
            while self._reading.recv(4096):
                pass

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ending = signal.Signals(number)

    def _hurry(self, number: int, frame: FrameType | None) -> None:
        self.time_is_short = True


def _wake(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has done it."""
