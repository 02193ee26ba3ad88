"""A Ray that is none of ours, and a Serve application that is none of ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from matrix_operator.backends.local.ports import choose_ports, is_free

STARTS = 3
"""On a busy machine parts of Ray give up after 30 s."""


class ForeignRay:
    """A Ray that somebody else started by `ray start` on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        ports = choose_ports(str(directory), set(), is_free)
        argv = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--node-ip-address=127.0.0.1", f"--port={ports.gcs}"]
        argv += [f"--dashboard-port={ports.dashboard}", f"--temp-dir={directory}", "--num-cpus=1", "--object-store-memory=80000000"]
        argv += [f"--ray-client-server-port={ports.state}", "--disable-usage-stats"]
        self.dashboard_url = f"http://127.0.0.1:{ports.dashboard}"
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "FOREIGN_RAY": str(directory), "RAY_AUTH_MODE": "disabled"}
        environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or its own drivers look for it on another address than 127.0.0.1
        for _ in range(STARTS):
            begun = time.monotonic()
            done = subprocess.run(argv, env=environment, check=False, capture_output=True, text=True, timeout=180)
            if done.returncode == 0:
                break
            self._end()
        else:
            raise AssertionError(f"their Ray did not start:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        self.seconds = time.monotonic() - begun
        self.started = self.main_pids()

    def main_pids(self) -> list[int]:
        """gcs_server, raylet and dashboard of it. What they start has their command line too, until its own begins."""
        mains = ("gcs_server", "raylet/raylet", "dashboard/dashboard.py")
        found = [pid for pid, argv in self._own().items() if any(argument.endswith(mains) for argument in argv[:2])]
        return [pid for pid in found if _parent(pid) not in found]

    def stop(self) -> None:
        self._end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self) -> None:
        while own := self._own():
            for pid in own:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def _own(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and f"FOREIGN_RAY={self.directory}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
        return found


def _parent(pid: int) -> int | None:
    try:
        return psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        return None


_APP = """
import os
from pathlib import Path
from ray import serve

@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0})
class Theirs:
    def __init__(self, directory):
        Path(directory, f"{os.getpid()}.pid").touch()

    def __call__(self, request):
        return {"pid": os.getpid()}

def build(args):
    return Theirs.bind(args["directory"])
"""


class ForeignApplication:
    """An entry for Serve. Its replicas leave their pids in `directory`."""

    def __init__(self, directory: Path, name: str, route: str | None) -> None:
        self.directory = directory
        (directory / "their_app.py").write_text(_APP)
        self.entry: dict[str, Any] = {
            "name": name,
            "route_prefix": route,
            "import_path": "their_app:build",
            "args": {"directory": str(directory)},
            "runtime_env": {"env_vars": {"PYTHONPATH": str(directory)}},
        }

    def pids(self) -> list[int]:
        """Of every replica that there ever was."""
        return sorted(int(path.stem) for path in self.directory.glob("*.pid"))
