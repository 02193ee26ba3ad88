"""A machine of the lab: network, host name, processes, /tmp and users of its own, on this machine's file system.

Killing its first process is pulling its plug: the kernel ends everything that runs on it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

import psutil

from tests.e2e.runtime.pod_network import Place as Address
from tests.e2e.runtime.pod_network import ip
from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.node import enter
from tests.lab.node.needs import PATH, program
from tests.lab.processes import Process
from tests.lab.slurm import init
from tests.lab.slurm.users import UnixUser

REPOSITORY = Path(__file__).resolve().parents[3]
_STAGE = "/mnt"
_SECONDS = 60.0


class Place:
    """`directory` is the lab's, which all its machines see at the same path, as they would a shared file system. In its `etc` are the
    files that take the place of those of that name in /etc."""

    def __init__(self, directory: Path, name: str, address: Address, gateway: str) -> None:
        self.name = name
        self.address = address.address
        self._namespace = address.name
        self._gateway = gateway
        self._directory = directory
        self._home = directory / "machines" / name
        (self._home / "tmp").mkdir(parents=True)
        (self._home / "tmp").chmod(0o1777)
        self._first: Process | None = None

    @property
    def running(self) -> bool:
        return self._first is not None and self._first.running

    @property
    def tmp(self) -> Path:
        """Its /tmp, as it is called out here."""
        return self._home / "tmp"

    def start(self) -> None:
        """Switches it on; nothing runs on it yet. Returns at once: `wait_started` tells when it can be used."""
        self._marker.unlink(missing_ok=True)
        script = self._home / "start.sh"
        script.write_text("\n".join(self._preparation()) + "\n")
        isolation = ("--pid", "--uts", "--mount", "--fork", "--kill-child=SIGKILL", "--propagation", "private")
        net = f"--net=/run/netns/{self._namespace}"
        argv = [program("nsenter"), net, program("unshare"), *isolation, "/bin/bash", "-e", str(script)]
        self._first = Process(self.name, argv, self._directory, self._directory / "log" / f"machine-{self.name}.log")
        self._first.start()

    def wait_started(self) -> None:
        """Raises LabError."""
        first = self._first
        assert first is not None
        wait_for(lambda: self._marker.exists() or not first.running, f"{self.name} is there", _SECONDS)
        first.require_running()

    def stop(self) -> None:
        """Pulls its plug."""
        if self._first is None:
            return
        with contextlib.suppress(LabError, IndexError, psutil.NoSuchProcess):
            inner = psutil.Process(self._first.pid).children()[0]
            inner.kill()
            wait_for(lambda: not _lives(inner), f"the processes of {self.name} are gone", _SECONDS)
        self._first.kill()

    def disconnect(self) -> None:
        """Cuts its network; nobody is told."""
        ip("-n", self._namespace, "link", "set", "eth0", "down")

    def connect(self) -> None:
        ip("-n", self._namespace, "link", "set", "eth0", "up")
        ip("-n", self._namespace, "route", "replace", "default", "via", self._gateway)

    def argv(self, *command: str, user: UnixUser | None = None, environment: Mapping[str, str] | None = None) -> list[str]:
        """The command line out here that runs `command` on it, as that user in its home; root's without one. The command ends with it."""
        entered = [sys.executable, "-I", "-S", enter.__file__, str(self._pid), str(user.home if user else self._directory)]
        base = {"PATH": PATH, "SLURM_CONF": f"{self._directory}/slurm.conf"}
        told = {**base, **(user.environment if user else {}), **(environment or {})}
        identity = [f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups"] if user else []
        become = [program("setpriv"), *identity, "--pdeathsig=KILL", program("env"), *(f"{key}={value}" for key, value in told.items())]
        return [*entered, *become, *command]

    def run(
        self, *command: str, user: UnixUser | None = None, stdin: str = "", seconds: float = _SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        return subprocess.run(
            self.argv(*command, user=user), input=stdin, capture_output=True, text=True, timeout=seconds, cwd="/", env={"PATH": PATH}
        )

    def processes(self) -> Sequence[psutil.Process]:
        """All that runs on it, as this machine sees them, but the first."""
        first = self._pid
        namespace = Path(f"/proc/{first}/ns/pid").readlink()
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if process.pid != first and Path(f"/proc/{process.pid}/ns/pid").readlink() == namespace and _lives(process):
                    found.append(process)
        return found

    def names(self) -> Sequence[str]:
        """Of those processes; one that ends meanwhile has none."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(process.name())
        return found

    @property
    def _marker(self) -> Path:
        return self._home / "started"

    @property
    def _pid(self) -> int:
        """Of its first process, as seen from out here."""
        if self._first is None or not self._first.running:
            raise LabError(f"{self.name} is switched off")
        return psutil.Process(self._first.pid).children()[0].pid

    def _preparation(self) -> list[str]:
        """Everybody can read this checkout and its Python there, whatever they lie below; /tmp and /dev/shm are its own."""
        needed = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), self._directory]
        hidden = sorted({str(closed) for path in needed for closed in _closed(path)} - {"/tmp"})
        lines = [f"hostname {self.name}", "mount -t proc proc /proc", f"mount -t tmpfs -o mode=755 tmpfs {_STAGE}"]
        for number, path in enumerate([*needed, self.tmp]):
            lines.append(f"mkdir {_STAGE}/{number}; mount --rbind {quote(str(path))} {_STAGE}/{number}")
        lines += [f"mkdir -p {quote(path)}; mount -t tmpfs -o mode=755 tmpfs {quote(path)}" for path in hidden]
        lines += [f"mount --rbind {_STAGE}/{len(needed)} /tmp", "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"]
        for number, path in enumerate(needed):
            lines.append(f"mkdir -p {quote(str(path))}; mount --rbind {_STAGE}/{number} {quote(str(path))}")
        etc = self._directory / "etc"
        lines += [f"mount --bind {quote(str(file))} /etc/{file.name}" for file in sorted(etc.iterdir())]
        first = [sys.executable, "-I", "-S", init.__file__, str(self._marker)]
        return [*lines, f"umount -R -l {_STAGE}", f"exec {' '.join(map(quote, first))}"]


def _closed(path: Path) -> list[Path]:
    """The directories above that only their owner can enter."""
    return [parent for parent in path.parents if not parent.stat().st_mode & 0o001]


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
