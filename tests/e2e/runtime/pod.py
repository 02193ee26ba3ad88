"""A stand-in for a pod on this machine: the first container of a pod template in namespaces of its own, with its environment, mounts and
user, and nothing left of it when it is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import psutil

from tests.e2e.runtime.pod_network import Place

REPOSITORY = Path(__file__).resolve().parents[3]
STAGE = "/mnt"
BINARIES = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"


class Pod:
    """`template`: as rendered for the API server; `volumes`: a directory for the name of each volume; `names`: /etc/hosts."""

    def __init__(
        self, place: Place, template: Mapping[str, Any], volumes: Mapping[str, Path], names: Mapping[str, str], home: Path
    ) -> None:
        self.place = place
        self._container = template["spec"]["containers"][0]
        self._user = template["spec"]["securityContext"]["runAsUser"]
        self._mounts = [(volumes[mount["name"]], mount["mountPath"]) for mount in self._container["volumeMounts"]]
        self._home = home
        (home / "tmp").mkdir(parents=True)
        (home / "tmp").chmod(0o1777)
        (home / "hosts").write_text("".join(f"{address} {name}\n" for name, address in ({"localhost": "127.0.0.1"} | dict(names)).items()))
        (home / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # nobody: what is not in the hosts file is refused at once
        self._environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = home / "log"

    def start(self, command: str, environment: Mapping[str, str]) -> None:
        """Runs the command as the container's first process; `environment` is what KubeRay adds."""
        told = {entry["name"]: entry["value"] for entry in self._container["env"]}
        self._environment = {"PATH": BINARIES, "PYTHONPATH": str(REPOSITORY)} | told | dict(environment)
        script = self._home / "start.sh"
        script.write_text("\n".join([*self._preparation(), f"exec {self._as_user(command)}\n"]))
        self.start_again()

    def start_again(self) -> None:
        """The same once more, after it has ended."""
        isolation = ["unshare", "--pid", "--uts", "--mount", "--fork", "--kill-child", "--propagation", "private"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self.place.name, *isolation, "/bin/bash", "-e", str(self._home / "start.sh")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def exec(self, command: str, seconds: float) -> subprocess.CompletedProcess[str]:
        """Runs something in the container, as a hook does."""
        enter = ["nsenter", "--target", str(self.first().pid), "--net", "--pid", "--uts", "--mount"]
        script = ["/bin/bash", "-c", self._as_user(command)]
        return subprocess.run([*enter, *script], capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)

    def processes(self) -> list[psutil.Process]:
        """All of them."""
        return [] if self._process is None else psutil.Process(self._process.pid).children(recursive=True)

    def first(self) -> psutil.Process:
        """The container's process 1, as this machine sees it."""
        assert self._process is not None
        return psutil.Process(self._process.pid).children()[0]

    def terminate(self, seconds: float) -> float:
        """What the kubelet does when a pod's hook is over: SIGTERM, and SIGKILL for what is left after so long. How long it took."""
        assert self._process is not None
        before = time.monotonic()
        with contextlib.suppress(psutil.Error):
            self.first().send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()
        return time.monotonic() - before

    def kill(self) -> None:
        """At once, with all of its processes."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)

    def listening(self) -> list[str]:
        """Lines of `ss`: address and process of each listening TCP port."""
        command = ["ip", "netns", "exec", self.place.name, "ss", "-ltnpH"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()

    def _as_user(self, command: str) -> str:
        user = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
        environment = [f"{name}={value}" for name, value in self._environment.items()]
        return " ".join(map(quote, [*user, "env", "-i", *environment, "/bin/bash", "-c", command]))

    def _preparation(self) -> list[str]:
        """A file system as in a container, as far as it matters: /tmp, /run and the mounts are the pod's own, and what this test needs of
        the machine (the checkout, Python) can be read by the pod's user."""
        needed = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)]
        hidden = ["/run", "/var/lib", *sorted({str(closed) for path in needed for closed in _closed(path)})]
        staged = {path: f"{STAGE}/{number}" for number, path in enumerate([*needed, *(source for source, _ in self._mounts), self._home])}
        lines = [f"hostname {self.place.name}", "mount -t proc proc /proc", f"mount -t tmpfs -o mode=755 tmpfs {STAGE}"]
        lines += [f"mkdir {stage}; mount --rbind {quote(str(path))} {stage}" for path, stage in staged.items()]
        lines += [f"mkdir -p {quote(path)}; mount -t tmpfs -o mode=755 tmpfs {quote(path)}" for path in hidden]
        lines += [
            "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
            *(f"mount --bind {staged[self._home]}/{name} /etc/{name}" for name in ("hosts", "resolv.conf")),
        ]
        lines += [f"mount --bind {staged[self._home]}/tmp /tmp"]
        for source, target in [*((path, str(path)) for path in needed), *self._mounts]:
            lines.append(f"mkdir -p {quote(target)}; mount --rbind {staged[source]} {quote(target)}")
        return lines


def _closed(path: Path) -> list[Path]:
    """The directories above that only their owner can enter."""
    return [parent for parent in path.parents if not parent.stat().st_mode & 0o001]
