"""One program of the control plane: started, hurt, ended and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import leash
from tests.lab.errors import LabError

STOP_SECONDS = 30.0
KILL_SECONDS = 60.0
_SPAWNER = ThreadPoolExecutor(1, thread_name_prefix="lab-spawner")
"""Starts every process. The kernel's "parent" of PR_SET_PDEATHSIG is the thread that forked, not the process: a test that starts one from
a short-lived thread would lose it again. This thread lives as long as the interpreter."""


def wait_until_stopped(pid: int) -> None:
    """Returns when no thread of the process runs any more: the signal comes to each by itself, and one may answer meanwhile. Raises
    LabError."""
    deadline = time.monotonic() + STOP_SECONDS
    while any(_state(thread) not in "TtZX" for thread in Path(f"/proc/{pid}/task").iterdir()):
        if time.monotonic() > deadline:
            raise LabError(f"process {pid} does not stop")
        time.sleep(0.002)


def _state(thread: Path) -> str:
    """One letter (proc_pid_stat(5)); X of one that has gone."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


class Process:
    """A program with its arguments and its log, which grows through every start.

    It runs in a session of its own, so that Ctrl-C at the terminal does not reach it, and is killed when the test process dies.
    """

    def __init__(self, name: str, argv: Sequence[str], directory: Path, log: Path) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.log = log
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended; a stopped one counts as running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the running process. Raises LabError when there is none."""
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"{self.name} does not run")
        return self._process.pid

    def start(self) -> None:
        """Starts it with the same arguments as ever; does not wait until it answers. Raises LabError if it runs already."""
        if self.running:
            raise LabError(f"{self.name} runs already")
        self._process = _SPAWNER.submit(self._spawn).result()

    def kill(self) -> None:
        """SIGKILL; returns when it is dead, at once if it was."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(KILL_SECONDS)

    def terminate(self) -> None:
        """SIGTERM, also to a stopped one; does not wait."""
        self.send(signal.SIGTERM)
        self.cont()

    def stop(self) -> None:
        """SIGSTOP: it holds its port and its connections, and answers nothing until `cont`. Returns when it has stopped."""
        self.send(signal.SIGSTOP)
        if self.running:
            wait_until_stopped(self.pid)

    def cont(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """A signal, unless it has ended."""
        if self._process is not None:
            self._process.send_signal(number)  # looks first whether it has ended: the pid is never another's

    def wait(self, timeout: float) -> bool:
        """Whether it ended within that many seconds."""
        deadline = time.monotonic() + timeout
        while self.running and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.running

    def require_running(self) -> None:
        """Raises LabError with the end of the log if it has ended."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise LabError(f"{self.name} ended with status {status}; the end of its log:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _spawn(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self.argv]
        # Nothing of ours in the environment: variables named ETCD_* are settings of etcd, and proxies are not for loopback.
        environment = {"PATH": f"{os.defpath}:/usr/sbin:/sbin", "HOME": str(self._directory)}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                argv, cwd=self._directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )


def end_all(processes: Sequence[Process], grace: float = 2.0) -> None:
    """TERM to all at the same time, since one waits for the other's connections, and KILL to what is left after `grace` seconds."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace
    for process in processes:
        if not process.wait(deadline - time.monotonic()):
            process.kill()
