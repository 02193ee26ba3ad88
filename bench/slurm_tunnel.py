"""The tunnel from the hub to a server at a Slurm site, beside the same client at the same server directly: bytes/s both ways, of one
connection and of eight at once, by plain sockets and by an HTTP client; the time until the first byte of an answer; the bridge at rest.

The direct way is one copy within this machine, faster than any network; the tunnel is three connections, one of them encrypted, through two
processes in Python. The bare gRPC stream beside them shows how much of that is gRPC's.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil

from bench.report import Row, paired_ratio, report
from bench.slurm_tunnel_bare import bare
from bench.slurm_tunnel_world import ANSWER, BLOCK, REQUEST, WANT_BYTES, World, pour, take, world

RUNS = 5
BYTES = 256 * 1024**2
DIRECTLY = 8
"""Times as many that way, so that it lasts long enough to be measured."""
PAIRS = 400
SETTLE_SECONDS = 75.0
"""The bridge looks more often for a minute after a change."""
REST_SECONDS = float(os.environ.get("REST_SECONDS", "90"))
Address = tuple[str, int]
Transfer = Callable[[Address, int], None]


def connect(address: Address, wants: str) -> socket.socket:
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(wants.ljust(WANT_BYTES).encode())
    return connection


def get(address: Address, count: int) -> None:
    with connect(address, f"get {count}") as connection:
        take(connection, count, bytearray(len(BLOCK)))


def put(address: Address, count: int) -> None:
    with connect(address, f"put {count}") as connection:
        pour(connection, count)
        take(connection, 1, bytearray(1))


def fetch(address: Address, count: int) -> None:
    """As HTTP, by the client that the openai package has too."""
    host, port = address
    with httpx2.Client(trust_env=False, timeout=60) as http, http.stream("GET", f"http://{host}:{port}/{count:010}") as response:
        assert sum(len(part) for part in response.iter_raw()) == count


def rate(transfer: Transfer, address: Address, count: int, connections: int) -> float:
    """MB/s of all together."""
    threads = [threading.Thread(target=transfer, args=(address, count // connections)) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - began) / 1e6


def throughput(it: World, what: str, transfer: Transfer, connections: int) -> list[Row]:
    """In turn."""
    direct, tunnel = [], []
    for _ in range(RUNS):
        direct.append(rate(transfer, it.direct, DIRECTLY * BYTES, connections))
        tunnel.append(rate(transfer, it.tunnel, BYTES, connections))
    return [
        Row(f"{what}: directly", tuple(direct), "MB/s"),
        Row(f"{what}: tunnel", tuple(tunnel), "MB/s"),
        paired_ratio(f"{what}: tunnel / directly", tunnel, direct, ">= 0.6 x", at_least=0.6),
    ]


def asked(connection: socket.socket) -> None:
    connection.sendall(REQUEST)
    take(connection, len(ANSWER), bytearray(len(ANSWER)))


def asked_anew(address: Address) -> None:
    with connect(address, "ask") as connection:
        asked(connection)


def milliseconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def added(what: str, directly: Callable[[], None], tunnel: Callable[[], None]) -> list[Row]:
    """By pairs."""
    more = sorted(-milliseconds(directly) + milliseconds(tunnel) for _ in range(PAIRS))
    middle, late = more[PAIRS // 2], more[int(0.99 * PAIRS)]
    return [
        Row(f"{what}: later by, median", (middle,), "ms", "< 2 ms", middle < 2),
        Row(f"{what}: later by, p99", (late,), "ms"),
    ]


def first_bytes(it: World) -> list[Row]:
    with connect(it.direct, "ask") as direct, connect(it.tunnel, "ask") as tunnel:
        rows = added("first byte", lambda: asked(direct), lambda: asked(tunnel))
    return rows + added("first byte, new connection", lambda: asked_anew(it.direct), lambda: asked_anew(it.tunnel))


def resident(pid: int) -> float:
    """MB."""
    return float(psutil.Process(pid).memory_info().rss / 2**20)


def at_rest(it: World) -> list[Row]:
    """With the commands that it starts."""
    time.sleep(SETTLE_SECONDS)
    bridge = psutil.Process(it.bridge_pid)
    before, began = sum(bridge.cpu_times()[:4]), time.monotonic()
    time.sleep(REST_SECONDS)
    share = 100 * (sum(bridge.cpu_times()[:4]) - before) / (time.monotonic() - began)
    memory = resident(it.bridge_pid)
    return [
        Row("bridge at rest, a cluster", (share,), "% of a core", "< 1 %", share < 1),
        Row("its memory", (memory,), "MB RSS", "< 80 MB", memory < 80),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, world(Path(directory)) as it:
        rows = at_rest(it) + first_bytes(it)
        for connections in (1, 8):
            rows += throughput(it, f"{connections} down", get, connections)
            rows += throughput(it, f"{connections} up", put, connections)
        rows += throughput(it, "1 down, HTTP", fetch, 1)
        rows.append(Row("a bare gRPC stream, TLS, one hop", bare(Path(directory) / "tls", 4 * BYTES, RUNS), "MB/s"))
        memory = {"hub": it.hub_pid, "bridge": it.bridge_pid}
        rows += [Row(f"memory after it, {name}", (resident(pid),), "MB RSS") for name, pid in memory.items()]
    report("slurm_tunnel", rows)


if __name__ == "__main__":
    main()
