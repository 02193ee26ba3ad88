"""Requests/s and latency of the gateway before four replicas that answer at once, beside plain nginx and Ray Serve's own HTTP proxy.

The gateway checks a hashed key, finds the model in the JSON body and picks the least loaded replica; nginx only passes on. Each has one
worker, wrk sends 600-byte chat requests over 64 connections, and they run in turn.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from bench.report import Row, paired_ratio, report
from bench.serve_echo import ANSWER
from tests.e2e.runtime.gateway_world import World
from tests.e2e.runtime.ray_cluster import CLIENT_TOKEN, eventually, free_port

ROUNDS = 3
SECONDS = 5
CONNECTIONS = 64
REPLICAS = 4
PATH = "/v1/chat/completions"
NEEDED = ("nginx", "wrk")
INSTALL = "apt-get install -y nginx-light wrk"
BODY = json.dumps(
    {
        "model": "m",
        "temperature": 0.7,
        "messages": [{"role": "system", "content": "You are a helpful assistant. " * 12}, {"role": "user", "content": "word " * 30}],
    }
)
SCRIPT = """
wrk.method = "POST"
wrk.headers["authorization"] = "Bearer %s"
wrk.headers["content-type"] = "application/json"
wrk.body = [==[%s]==]
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT %%f %%f %%f %%d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed))
end
"""


@dataclass(frozen=True)
class Measured:
    """Of one round: requests/s; milliseconds."""

    rate: float
    p50: float
    p99: float


def nginx_conf(home: Path, servers: str) -> str:
    """A configuration for one worker in the foreground."""
    return f"""daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; keepalive_requests 1000000000;
  fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  {servers}
}}
"""


@contextmanager
def nginx(servers: str, port: int) -> Iterator[None]:
    """nginx with these server blocks; it answers on `port`."""
    home = Path(tempfile.mkdtemp(prefix="mxb"))
    (home / "nginx.conf").write_text(nginx_conf(home, servers))
    process = subprocess.Popen(["nginx", "-p", str(home), "-c", str(home / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200, 30, "nginx answers")
        yield
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(home)


def static_replicas(ports: Sequence[int]) -> str:
    """Servers that answer at once."""
    answer = f"default_type application/json; location /health {{ return 200; }} location / {{ return 200 '{ANSWER.decode()}'; }}"
    return "\n  ".join(f"server {{ listen 127.0.0.1:{port} backlog=4096; {answer} }}" for port in ports)


def plain_proxy(port: int, replicas: Sequence[int]) -> str:
    """A server that passes on to them."""
    upstream = " ".join(f"server 127.0.0.1:{replica};" for replica in replicas)
    onward = 'proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection "";'
    front = f"server {{ listen 127.0.0.1:{port}; location / {{ {onward} }} }}"
    return f"upstream replicas {{ {upstream} keepalive 128; keepalive_requests 1000000000; }}\n  {front}"


@contextmanager
def gateway(replicas: Sequence[int]) -> Iterator[World]:
    """The gateway as it runs in a cluster, told of these replicas."""
    world = World()
    try:
        world.declare("m")
        told = {"model": "m", "grpc": "", "state": "Ready", "suspect": False, "ongoing": 0}
        known = [told | {"id": f"r{port}", "url": f"http://127.0.0.1:{port}"} for port in replicas]
        world.start()
        (world.home / "world.json").write_text(json.dumps({"models": world.models, "replicas": known}))
        world.serves("m")
        yield world
    finally:
        world.stop()


@contextmanager
def serve_proxy() -> Iterator[int]:
    """Ray Serve with its own HTTP proxy; its port."""
    port, home = steady_port(), Path(tempfile.mkdtemp(prefix="mxb"))
    environ = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "MATRIX_BENCH": str(home)}
    command = [sys.executable, "-m", "bench.serve_echo", str(port), str(home / "r")]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None and process.stdin is not None
        if b"ready\n" not in iter(process.stdout.readline, b""):
            raise RuntimeError((home / "log").read_text())
        yield port
        process.stdin.close()
        process.wait(60)
    finally:
        end_marked(str(home))
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def steady_port() -> int:
    """A free port below those that the system gives away: Ray opens many of these before Serve opens its own."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no free port between 20000 and 30000")


def end_marked(mark: str) -> None:
    """Ends every process that was started in the environment of this bench."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("MATRIX_BENCH") == mark:
                process.kill()


def measure(port: int, script: Path) -> Measured:
    """One round of wrk. Raises AssertionError when a request failed."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout", "30s", "-s", str(script), f"http://127.0.0.1:{port}{PATH}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, p50, p99, failed = next(line.split()[1:] for line in output.splitlines() if line.startswith("RESULT"))
    assert int(failed) == 0, output
    return Measured(float(rate), float(p50), float(p99))


def rows(results: dict[str, list[Measured]]) -> list[Row]:
    """The table; the gateway is the first."""
    table: list[Row] = []
    for name, rounds in results.items():
        table += [
            Row(f"{name}, requests/s", tuple(one.rate for one in rounds), "/s"),
            Row(f"{name}, p50", tuple(one.p50 for one in rounds), "ms"),
            Row(f"{name}, p99", tuple(one.p99 for one in rounds), "ms"),
        ]
    rates = {name: [one.rate for one in rounds] for name, rounds in results.items()}
    table.append(paired_ratio("requests/s: gateway / nginx", rates["gateway"], rates["nginx"], ">= 0.4 x", at_least=0.4))
    table.append(paired_ratio("requests/s: gateway / Serve's proxy", rates["gateway"], rates["Serve's proxy"], "> 20 x", at_least=20))
    return table


def main() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} not found: {INSTALL}")
    replicas, plain = [free_port() for _ in range(REPLICAS)], free_port()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mxb")))
        script = home / "chat.lua"
        script.write_text(SCRIPT % (CLIENT_TOKEN, BODY))
        stack.enter_context(nginx(static_replicas(replicas), replicas[0]))
        stack.enter_context(nginx(plain_proxy(plain, replicas), plain))
        world = stack.enter_context(gateway(replicas))
        serve = stack.enter_context(serve_proxy())
        ports = {"gateway": world.port, "nginx": plain, "Serve's proxy": serve}
        results: dict[str, list[Measured]] = {name: [] for name in ports}
        for _ in range(ROUNDS):
            for name, port in ports.items():
                results[name].append(measure(port, script))
    report("gateway", rows(results))


if __name__ == "__main__":
    main()
