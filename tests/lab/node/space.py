"""Namespaces of a node's own, for processes, mounts and the network: what happens in them is gone with their first process.

So a node leaves nothing on the machine, whatever kills it and however: no container, mount, rule, interface or setting.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import psutil
from filelock import FileLock, Timeout

from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.node import addresses, cgroups, enter, init, needs
from tests.lab.processes import Process

LOCK = Path(tempfile.gettempdir()) / "matrix-lab-node.lock"
_LOCK_SECONDS = 600.0
_SECONDS = 60.0


class Space:
    """The namespaces between `with` and its end. Their network reaches this machine and nothing else, by a link with fixed addresses:
    so there is one at a time, and whoever comes second waits."""

    def __init__(self, directory: Path) -> None:
        """`directory` is made, and removed at the end; everything that is written by a node goes there."""
        self.directory = directory
        self._stack = ExitStack()
        self._first: Process | None = None

    def __enter__(self) -> Space:
        """Raises NodeMissing when this machine can't have a node, LabError when it may not."""
        needs.require()
        with ExitStack() as stack:
            self._lock(stack)
            self._prepare(stack)
            stack.callback(cgroups.remove)
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Kills every process in them, and removes the directory."""
        self._stack.close()

    def argv(self, *command: str) -> list[str]:
        """The command line that runs `command` in here, in the directory."""
        return [sys.executable, "-I", "-S", enter.__file__, str(self._pid), str(self.directory), needs.program(command[0]), *command[1:]]

    def run(self, *command: str) -> str:
        """What that program printed. Raises LabError with what it complained of."""
        return _run(self.argv(*command))

    @property
    def _pid(self) -> int:
        """Of the first process in them, as seen from out here."""
        assert self._first is not None
        return psutil.Process(self._first.pid).children()[0].pid

    def _lock(self, stack: ExitStack) -> None:
        lock = FileLock(LOCK)
        try:
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            raise LabError(f"another node runs on this machine, for {_LOCK_SECONDS:g} s now; it holds {LOCK}") from None
        stack.callback(lock.release)

    def _prepare(self, stack: ExitStack) -> None:
        hidden = [path for path in init.HIDDEN if self.directory.resolve().is_relative_to(path)]
        if hidden:
            raise LabError(f"{self.directory}: a node's directory can't be below {hidden[0]}, which its programs do not see")
        _refuse_taken_addresses()
        cgroups.require_none()
        self.directory.mkdir(mode=0o755, parents=True)
        stack.callback(shutil.rmtree, self.directory)

    def _start(self, stack: ExitStack) -> None:
        marker, log = self.directory / "ready", self.directory / "init.log"
        options = ("--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")
        argv = [needs.program("unshare"), *options, sys.executable, "-I", "-S", init.__file__, str(marker)]
        first = self._first = Process("the node's namespaces", argv, self.directory, log)
        first.start()
        stack.callback(self._end, first)
        wait_for(lambda: marker.exists() or not first.running, "the namespaces are ready", _SECONDS)
        first.require_running()
        self._link()

    def _link(self) -> None:
        """Joins their network to this machine."""
        ip, pid, bits = needs.program("ip"), str(self._pid), addresses.LINK_BITS
        _run([ip, "link", "add", addresses.INTERFACE, "type", "veth", "peer", "name", "host0", "netns", pid])
        _run([ip, "address", "add", f"{addresses.HOST}/{bits}", "dev", addresses.INTERFACE])
        _run([ip, "link", "set", addresses.INTERFACE, "up"])
        self.run("ip", "address", "add", f"{addresses.NODE}/{bits}", "dev", "host0")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "set", "host0", "up")
        self.run("ip", "route", "add", "default", "via", addresses.HOST)
        for behind in (addresses.PODS, addresses.SERVICES):
            _run([ip, "route", "add", behind, "via", addresses.NODE])

    def _end(self, first: Process) -> None:
        with contextlib.suppress(LabError, IndexError, psutil.NoSuchProcess):
            inner = psutil.Process(self._pid)
            first.kill()
            # It is the last of them: the kernel lets it go when all others have gone.
            wait_for(lambda: not _lives(inner), "the node's processes are gone", _SECONDS)
        first.kill()
        subprocess.run([needs.program("ip"), "link", "delete", addresses.INTERFACE], capture_output=True, check=False)


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _refuse_taken_addresses() -> None:
    """Raises LabError when this machine uses one of our addresses for something else."""
    ip = needs.program("ip")
    for address in (addresses.NODE, addresses.PODS.split("/")[0], addresses.SERVICES.split("/")[0]):
        route = json.loads(_run([ip, "-json", "route", "show", "match", address]))
        if taken := [entry for entry in route if entry["dst"] != "default"]:
            raise LabError(f"this machine has a route to {taken[0]['dst']} by {taken[0].get('dev')}, which a node would need for itself")


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS * 10, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
