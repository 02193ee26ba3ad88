"""One daemon on a machine of the lab: started, hurt, ended and started again."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.processes import Process, wait_until_stopped
from tests.lab.slurm.place import Place

_SECONDS = 60.0


class Daemon:
    """Runs in the foreground, below a process that this machine's kernel kills when the test's process dies."""

    def __init__(self, name: str, place: Place, command: Sequence[str], logs: Path) -> None:
        self.name = name
        self._place = place
        self._command = command
        self._logs = logs
        self._process: Process | None = None
        self._inner: psutil.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Does not wait until it answers."""
        process = Process(self.name, self._place.argv(*self._command), self._logs.parent, self._logs / f"{self.name}.out")
        process.start()
        self._process, self._inner = process, None

    def require_running(self) -> None:
        """Raises LabError with the end of what it printed."""
        if self._process is None:
            raise LabError(f"{self.name} was not started")
        self._process.require_running()

    def kill(self) -> None:
        """SIGKILL to it and to nothing that it has started; returns when it is dead."""
        if self.running:
            with contextlib.suppress(psutil.NoSuchProcess, LabError):
                self._daemon().kill()
            assert self._process is not None
            self._process.wait(_SECONDS)
            self._process.kill()

    def freeze(self) -> None:
        """It holds its sockets, and answers nothing until `thaw`."""
        self._daemon().send_signal(signal.SIGSTOP)
        wait_until_stopped(self._daemon().pid)

    def thaw(self) -> None:
        """Also when it does not run any more."""
        with contextlib.suppress(psutil.NoSuchProcess, LabError):
            self._daemon().send_signal(signal.SIGCONT)

    def _daemon(self) -> psutil.Process:
        """The daemon itself: the only child of the process that went into the machine."""
        if self._inner is None:
            process = self._process
            if process is None or not process.running:
                raise LabError(f"{self.name} does not run")
            outer = psutil.Process(process.pid)
            wait_for(lambda: bool(outer.children()), f"{self.name} is started", _SECONDS)
            self._inner = outer.children()[0]
        return self._inner
