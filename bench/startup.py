"""From nothing to ready, against the same by hand: `ray start` and Serve with a bare vLLM replica. In turn, so that drift cancels out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from bench.report import Row, paired_ratio, report
from tests.e2e.product.product import Product, cluster, until

RUNS = 3
EXAMPLE = "examples/quickstart.yaml"
ARGUMENTS = "--max-model-len 2048 --enforce-eager --kv-cache-memory-bytes 128M --block-size 32 --served-model-name smollm2"
GCS, DASHBOARD, REPLICA = 26379, 28265, 28300
APPLICATIONS = f"http://127.0.0.1:{DASHBOARD}/api/serve/applications/"
PROXY = 28400  # Serve's own; off as in ours


class ByHand:
    """What a person types: `ray start`, and a Serve configuration with the bare replica."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mxb", dir="/tmp"))
        root = str(Path.cwd())
        self.environ = os.environ | {"PYTHONPATH": root, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        self.environ["MATRIX_BY_HAND"] = str(self.directory)

    def __enter__(self) -> ByHand:
        return self

    def __exit__(self, *_: object) -> None:
        for process in psutil.process_iter():
            try:
                if process.environ().get("MATRIX_BY_HAND") == str(self.directory):
                    process.send_signal(signal.SIGKILL)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        options = f"--head --port {GCS} --dashboard-host 127.0.0.1 --dashboard-port {DASHBOARD} --num-cpus 2 --disable-usage-stats"
        command = [ray, "start", *options.split(), "--temp-dir", str(self.directory)]
        subprocess.run(command, env=self.environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self.ask("GET", f"http://127.0.0.1:{DASHBOARD}/api/version") is not None, 60, "the dashboard does not answer")

    def deploy(self, builder: str, arguments: dict[str, Any]) -> None:
        application = {"name": "bare", "route_prefix": "/", "import_path": f"bench.bare_replica:{builder}", "args": arguments}
        config = {"proxy_location": "Disabled", "http_options": {"port": PROXY}, "applications": [application]}
        until(lambda: self.ask("PUT", APPLICATIONS, config) is not None, 60, "Serve does not take the configuration")

    def serve_nothing(self) -> None:
        self.deploy("build_nothing", {})
        until(lambda: b'"RUNNING"' in (self.ask("GET", APPLICATIONS) or b""), 60, "the empty application does not run")

    def serve(self, model: Path) -> None:
        self.deploy("build", {"arguments": f"--model {model} {ARGUMENTS}", "port": REPLICA})
        until(lambda: self.ask("GET", f"http://127.0.0.1:{REPLICA}/health") is not None, 300, "the bare replica does not answer")

    @staticmethod
    def ask(method: str, url: str, body: Any = None) -> bytes | None:
        request = urllib.request.Request(url, method=method, data=json.dumps(body).encode() if body else None)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return None


def converted_model() -> Path:
    """The quickstart's model as the runtime has cached it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matrix" / "models"
    found = sorted(cache.rglob("config.json"), key=lambda path: path.stat().st_mtime)
    assert found, f"no converted model in {cache}: run `make quickstart` once"
    return found[-1].parent


def timed_up(product: Product, file: str) -> float:
    started = time.monotonic()
    product.matrix("up", file, "--timeout", "300")
    return time.monotonic() - started


def without_models() -> tuple[float, float, float, float]:
    """Seconds: ours, by hand, ours down until no process is left, and by hand with Serve as well (ours always has it)."""
    with Product() as product:
        file = product.home.root / "cluster.json"
        file.write_text(json.dumps(cluster("bench")))
        ours = timed_up(product, str(file))
        started = time.monotonic()
        product.matrix("down", "mxc/bench")
        until(lambda: not product.processes(), 30, "processes are left after down")
        down = time.monotonic() - started
    with ByHand() as hand:
        started = time.monotonic()
        hand.start()
        by_hand = time.monotonic() - started
        hand.serve_nothing()
        with_serve = time.monotonic() - started
    return ours, by_hand, down, with_serve


def quickstart() -> tuple[float, float]:
    """Seconds: ours, by hand."""
    with Product() as product:
        ours = timed_up(product, EXAMPLE)
    with ByHand() as hand:
        started = time.monotonic()
        hand.start()
        hand.serve(converted_model())
        by_hand = time.monotonic() - started
    return ours, by_hand


def main() -> None:
    with Product() as product:
        timed_up(product, EXAMPLE)  # warms every cache, converts the model
    empty = [without_models() for _ in range(RUNS)]
    full = [quickstart() for _ in range(RUNS)]
    rows = [
        Row("matrix up, no models", tuple(row[0] for row in empty), "s"),
        Row("ray start", tuple(row[1] for row in empty), "s"),
        paired_ratio("  ratio", [row[0] for row in empty], [row[1] for row in empty], "<= 1.15 x", at_most=1.15),
        Row("ray start + an empty Serve application", tuple(row[3] for row in empty), "s"),
        paired_ratio("  ratio", [row[0] for row in empty], [row[3] for row in empty], "<= 1.15 x", at_most=1.15),
        Row("matrix up, quickstart", tuple(row[0] for row in full), "s"),
        Row("ray start + bare replica in Serve", tuple(row[1] for row in full), "s"),
        paired_ratio("  ratio", [row[0] for row in full], [row[1] for row in full], "<= 1.15 x", at_most=1.15),
        Row("matrix down until no process is left", tuple(row[2] for row in empty), "s", "< 10 s", max(row[2] for row in empty) < 10),
    ]
    report("startup", rows)


if __name__ == "__main__":
    main()
