"""A Ray of the tests' own: loopback only, own ports and directory, ended by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psutil

from matrix_proto.state import STATE_PATH, ReplicaView, State
from tests.lab.ports import free_port

Value = TypeVar("Value")
RAY_TOKEN, CLIENT_TOKEN = "ray-secret", "client-secret"
MARK = "MATRIX_TEST_RAY"
STARTS = 3


def eventually(look: Callable[[], Value | None], seconds: float, what: str) -> Value:
    """The first truthy thing that `look` returns."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.HTTPError):
            if value := look():
                return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


class RayCluster:
    """One node, and the REST API in front of it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mxr"))
        self.secrets = self.home / "secrets"
        self.secrets.mkdir()
        (self.secrets / "ray-token").write_text(RAY_TOKEN)
        (self.secrets / "client-token").write_text(CLIENT_TOKEN)
        ports = set[int]()
        while len(ports) < 5:
            ports.add(free_port())
        self.dashboard_port, self.state_port, self.gcs_port, self.directory_port, self.gateway_port = ports
        self.state_url = f"http://127.0.0.1:{self.state_port}"
        self._http = httpx2.Client(timeout=120, trust_env=False, headers={"Authorization": f"Bearer {RAY_TOKEN}"})
        self._applications: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        for _ in range(STARTS):
            if self._launched():
                break
            self._end_processes()
            shutil.rmtree(self.home / "r", ignore_errors=True)
        else:
            raise AssertionError(f"Ray did not start:\n{(self.home / 'launch.log').read_text()[-3000:]}")
        eventually(lambda: self.serve_status(), 240, "Ray's Serve API answers")

    def stop(self) -> None:
        """Ends every process that was started in this Ray's environment."""
        self._http.close()
        self._end_processes()
        shutil.rmtree(self.home, ignore_errors=True)

    def _launched(self) -> bool:
        """Whether it came up: on a busy machine parts of Ray give up after 30 s."""
        command = [sys.executable, str(Path(__file__).with_name("ray_launch.py")), str(self.home / "r"), str(self.gcs_port)]
        with (self.home / "launch.log").open("ab") as log:
            launch = [*command, str(self.dashboard_port)]
            return subprocess.run(launch, env=self._environment(), stdout=log, stderr=log, check=False, timeout=180).returncode == 0

    def _end_processes(self) -> None:
        while processes := self.processes():  # what they start meanwhile too
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=10)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.home):
                    found.append(process)
        return found

    def titled(self, title: str) -> list[psutil.Process]:
        """Those with that in their title. What one of them starts has its title too, until its own begins."""
        found: dict[int, psutil.Process] = {}
        parents: dict[int, int] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if title in " ".join(process.cmdline()):
                    found[process.pid], parents[process.pid] = process, process.ppid()
        return [process for pid, process in found.items() if parents.get(pid) not in found]

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            MARK: str(self.home),
            "TMPDIR": str(self.home),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.secrets / "ray-token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # Ray's own default, 15, would starve an engine beside anything else
        }

    def serve_status(self) -> dict[str, Any] | None:
        answer = self._http.get(f"http://127.0.0.1:{self.dashboard_port}/api/serve/applications/")
        return answer.json() if answer.status_code == 200 else None

    def put(self, entry: dict[str, Any]) -> None:
        """Adds or replaces one application."""
        self._applications[entry["name"]] = entry
        self._put()

    def remove(self, name: str) -> None:
        self._applications.pop(name, None)
        self._put()

    def _put(self) -> None:
        body = {"proxy_location": "Disabled", "applications": list(self._applications.values())}
        answer = self._http.put(f"http://127.0.0.1:{self.dashboard_port}/api/serve/applications/", json=body)
        assert answer.status_code == 200, answer.text

    def put_system(self, *models: str, attempt: int = 1) -> None:
        """`models`: the names that the gateway is told are declared, each served by the application of that name."""
        arguments = {
            "bindHost": "127.0.0.1",
            "statePort": self.state_port,
            "stateUrl": self.state_url,
            "directoryPort": self.directory_port,
            "gatewayPort": self.gateway_port,
            "secretsDir": str(self.secrets),
        }
        told = [{"name": name, "application": f"mx-md-{name}", "policy": "LeastLoaded"} for name in models]
        gateway = {"name": "Gateway", "user_config": {"models": told}}
        directory = [{"name": "Directory", "user_config": {"attempt": attempt}}] if attempt > 1 else []
        entry = {"name": "mx-system", "route_prefix": None, "import_path": "matrix_runtime.system.app:build", "args": arguments}
        self.put(entry | {"deployments": [gateway, *directory]})

    def put_model(self, name: str, engine: dict[str, Any], source: str = "file:///none", attempt: int = 1, **deployment: Any) -> None:
        arguments = {
            "deployment": name,
            "servedName": name,
            "source": source,
            "engine": engine,
            "resources": {"cpu": "1", "memory": "2Gi", "gpu": 0},
            "stateUrl": self.state_url,
            "bindHost": "127.0.0.1",
            "secretsDir": str(self.secrets),
            "modelCacheDir": str(model_cache()),
        }
        options = {
            "name": "Replica",
            "num_replicas": 1,
            "user_config": {"attempt": attempt, "drainSeconds": 20},
            "ray_actor_options": {"num_cpus": 0},
            "graceful_shutdown_timeout_s": 35,
            "health_check_period_s": 1,
        }
        builder = "matrix_runtime.serving.app:build"
        deployments = [options | deployment]
        self.put({"name": f"mx-md-{name}", "route_prefix": None, "import_path": builder, "args": arguments, "deployments": deployments})

    def state(self, token: str = CLIENT_TOKEN, **query: object) -> State:
        answer = self._http.get(self.state_url + STATE_PATH, params=query, headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        return State.model_validate(answer.json())

    def replicas(self, name: str) -> list[ReplicaView]:
        return [replica for replica in self.state().replicas if replica.application == f"mx-md-{name}"]

    def replica(self, name: str, seconds: float, wanted: Callable[[ReplicaView], bool], what: str) -> ReplicaView:
        """The first replica that is as wanted."""
        return eventually(lambda: next(filter(wanted, self.replicas(name)), None), seconds, what)

    def log_of(self, pid: int) -> str:
        """What a replica has printed."""
        return "".join(path.read_text(errors="replace") for path in (self.home / "r").glob(f"session_2*/logs/worker-*-{pid}.out"))


def model_cache() -> Path:
    """Kept between runs: a conversion takes most of a minute."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matrix" / "models"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
