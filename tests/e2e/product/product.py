"""The product as its user runs it: the `matrix` command with a state directory of its own, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from matrix_store.database import Database
from matrix_store.home import Home

MATRIX = str(Path(sys.executable).with_name("matrix"))


class Product:
    """A context: on exit every cluster is taken down, the controller ended and the directory removed. Fails if a process is left."""

    def __init__(self, home: Home | None = None) -> None:
        self.home = home or Home(Path(tempfile.mkdtemp(prefix="matrix-e2e-")))
        self.environ = os.environ | {"MATRIX_HOME": str(self.home.root)}

    def __enter__(self) -> Product:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            for item in self.objects("mxd") + self.objects("mxc"):
                self.matrix("down", f"{item['kind']}/{item['metadata']['name']}", "--timeout", "180", check=False)
            self.matrix("controller", "stop", check=False)
            left = self.processes()
        finally:
            if error is not None:
                sys.stderr.write(self.controller_log()[-6000:])
            shutil.rmtree(self.home.root, ignore_errors=True)
        if error is None:
            assert not left, f"left running: {[_title(process) for process in left]}"

    def run(self, *arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """The command, whatever its exit code."""
        return subprocess.run([MATRIX, *arguments], env=self.environ, capture_output=True, text=True, timeout=timeout)

    def matrix(self, *arguments: str, check: bool = True) -> str:
        """The command's standard output; fails with all that it said when its exit code is not 0."""
        done = self.run(*arguments)
        if check:
            assert done.returncode == 0, f"matrix {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply objects by `matrix apply`, which also starts the controller."""
        self.matrix("apply", self._file(manifests))

    def up(self, *manifests: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """`matrix up`, whatever its exit code."""
        return self.run("up", self._file(manifests))

    def objects(self, kind: str) -> list[dict[str, Any]]:
        return list(json.loads(self.matrix("get", kind, "-o", "json", check=False) or "{}").get("items", []))

    def get(self, reference: str) -> dict[str, Any]:
        """One object by KIND/NAME."""
        return dict(json.loads(self.matrix("get", reference, "-o", "json")))

    def condition(self, reference: str, type_: str = "Ready") -> dict[str, Any]:
        """A condition; {} while there is none."""
        conditions = (self.get(reference).get("status") or {}).get("conditions") or []
        return next((dict(item) for item in conditions if item["type"] == type_), {})

    def wait(self, reference: str, status: str = "True", reason: str | None = None, timeout: float = 300, type_: str = "Ready") -> float:
        """Until the condition is so, for the current generation. Returns the seconds that it took."""

        def holds() -> bool:
            item = self.get(reference)
            current = self.condition_of(item, type_)
            seen = (item.get("status") or {}).get("observedGeneration") == item["metadata"]["generation"]
            return seen and current.get("status") == status and reason in (None, current.get("reason"))

        return until(holds, timeout, lambda: f"{reference}: {type_} is not {status} {reason or ''}: {self.condition(reference, type_)}")

    @staticmethod
    def condition_of(item: dict[str, Any], type_: str) -> dict[str, Any]:
        return next((dict(each) for each in (item.get("status") or {}).get("conditions") or [] if each["type"] == type_), {})

    def controller_pid(self) -> int:
        """Raises AssertionError while none runs."""
        database = Database(self.home.database)
        try:
            holder = database.lock().holder()
            assert holder is not None, "no controller runs"
            return holder.owner.pid
        finally:
            database.close()

    def controller_log(self) -> str:
        return self.home.controller_log.read_text(errors="replace") if self.home.controller_log.exists() else ""

    def processes(self, uid: str | None = None) -> list[psutil.Process]:
        """Every living process that carries this state directory's marker, of one cluster or of all."""
        found = []
        for process in psutil.process_iter():
            try:
                environ = process.environ()
                if process.status() == psutil.STATUS_ZOMBIE or environ.get("MATRIX_CLUSTER_UID") is None:
                    continue
                if environ.get("MATRIX_HOME") == str(self.home.root) and uid in (None, environ["MATRIX_CLUSTER_UID"]):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def _file(self, manifests: tuple[dict[str, Any], ...]) -> str:
        file = self.home.root / "manifest.json"
        file.write_text("\n---\n".join(json.dumps(manifest) for manifest in manifests))
        return str(file)

    def process(self, name: str, uid: str | None = None) -> psutil.Process:
        """The one process whose command line (or title, such as ray::ServeController) begins with or contains `name`."""
        titles = {process: _title(process) for process in self.processes(uid)}
        matching = [process for process, title in titles.items() if name in title]
        assert matching, f"no process {name!r} among {[title[:80] for title in titles.values()]}"
        return matching[0]


def _title(process: psutil.Process) -> str:
    """The beginning of its command line; "" when it has ended meanwhile."""
    try:
        return " ".join(process.cmdline()[:3])
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def until(holds: Callable[[], bool], timeout: float, what: Callable[[], str] | str, poll: float = 0.1) -> float:
    """Wait for a condition with a deadline; the seconds that it took. Fails with `what`."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < timeout, what() if callable(what) else what
        time.sleep(poll)
    return time.monotonic() - started


def cluster(name: str, **spec: Any) -> dict[str, Any]:
    """A small MatrixCluster."""
    resources = {"head": {"resources": {"cpu": 2, "memory": "4Gi"}}}
    return {"apiVersion": "matrix.dev/v1alpha1", "kind": "MatrixCluster", "metadata": {"name": name}, "spec": resources | spec}


def dummy(name: str, on: str, **spec: Any) -> dict[str, Any]:
    """A ModelDeployment with the test engine."""
    body = {"clusterRef": {"name": on}, "engine": {"dummy": {}}, "resources": {"cpu": 1, "memory": "512Mi"}, "drainSeconds": 1}
    return {"apiVersion": "matrix.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name}, "spec": body | spec}
