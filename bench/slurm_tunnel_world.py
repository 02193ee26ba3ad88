"""What `slurm_tunnel` measures in: a hub, `matrix bridge run`, and a server behind it, each a process of its own, with TLS and a token.
Slurm is a few lines of shell that know of one job: a look at the queue costs a process, as it does at a site."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from matrix_operator.hub.certificates import AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, make
from matrix_operator.hub.hub import Hub
from matrix_operator.hub.settings import HubSettings, SiteSettings
from matrix_operator.hub.tokens import issue
from matrix_proto.bridge_pb2 import ClusterDesired, TunnelTarget
from matrix_slurm_bridge.node.record import FILE, HeadPorts, HeadRecord
from matrix_slurm_bridge.slurm.names import HEAD, JobTag
from matrix_slurm_bridge.slurm.parsing import FIELD, QUEUE_FIELDS, RECORD

BLOCK = bytes(1024 * 1024)
REQUEST = b"r" * 600
ANSWER = b"a" * 200
"""About as long as a chat request, and the first part of what comes back."""
WANT_BYTES = 16
PATIENCE = 60.0
LOOK_SECONDS = 0.1
SLURM = {
    "squeue": 'cat "{state}/queue" 2>/dev/null || true',
    "sbatch": 'cat > /dev/null; sed "s/NOW/$(date -u +%Y-%m-%dT%H:%M:%S)/g" "{state}/record" > "{state}/queue"; echo 101',
    "scancel": "true",
    "sinfo": "true",
    "sacct": "echo 'Slurm accounting storage is disabled' >&2; exit 1",
    "scontrol": "echo 'BOOT_TIME = 2026-01-01T00:00:00'; echo 'SLURM_VERSION = 22.05.8'",
}


def take(connection: socket.socket, count: int, into: bytearray) -> None:
    """Receives exactly so many bytes. Raises ConnectionError."""
    view = memoryview(into)
    while count:
        got = connection.recv_into(view[: min(count, len(view))])
        if not got:
            raise ConnectionError(f"it ended {count} bytes early")
        count -= got


def pour(connection: socket.socket, count: int) -> None:
    """Sends so many bytes."""
    for _ in range(count // len(BLOCK)):
        connection.sendall(BLOCK)


def serve() -> None:
    """The server behind the bridge: each connection says in 16 bytes what it wants, such as the beginning of an HTTP request. Prints its
    port; ends with its standard input."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        into = bytearray(len(BLOCK))
        with connection, suppress(ConnectionError):
            take(connection, WANT_BYTES, into)
            verb, _, count = bytes(into[:WANT_BYTES]).decode().strip().partition(" ")
            if verb == "GET":
                connection.recv_into(into)
                count = count.strip("/")
                connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {int(count)}\r\n\r\n".encode())
            if verb in ("get", "GET"):
                pour(connection, int(count))
            elif verb == "put":
                take(connection, int(count), into)
                connection.sendall(b"k")
            while verb == "ask":
                take(connection, len(REQUEST), into)
                connection.sendall(ANSWER)

    def accept() -> None:
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def hub(directory: Path, digest: str, uid: str) -> None:
    """The hub, as it is in an operator. Prints its port, and the address of the tunnel once there is one."""

    async def run() -> None:
        sites = {"fair": SiteSettings(digest, frozenset({"team"}))}
        it = Hub(HubSettings(directory / CERTIFICATE_FILE, directory / KEY_FILE, sites, port=0), CollectorRegistry())
        print(await it.start("hub-1"), flush=True)
        lab = ClusterDesired(uid=uid, namespace="team", name="lab", generation=1, attempt=1, phase=ClusterDesired.PRESENT, spec="{}")
        it.want("fair", lab)
        while (address := await it.reach("fair", uid, TunnelTarget.GATEWAY)) is None:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(LOOK_SECONDS)
        print(address, flush=True)
        await asyncio.to_thread(sys.stdin.read)

    asyncio.run(run())


class World:
    """`direct` and `tunnel` are addresses of one and the same server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[str]] = []
        self.direct = ("127.0.0.1", 0)
        self.tunnel = ("127.0.0.1", 0)
        self.hub_pid = self.bridge_pid = 0

    def start(self) -> None:
        uid, (token, digest) = str(uuid.uuid4()), issue()
        make(self._directory / "tls", ["127.0.0.1"])
        server = self._run("bench.slurm_tunnel_world", "serve")
        self.direct = ("127.0.0.1", int(_line(server)))
        hub = self._run("bench.slurm_tunnel_world", "hub", str(self._directory / "tls"), digest, uid)
        self.hub_pid, address = hub.pid, f"127.0.0.1:{_line(hub)}"
        self._site(uid, token)
        self.bridge_pid = self._bridge(address).pid
        self._head(uid)
        host, _, port = _line(hub).rpartition(":")
        self.tunnel = (host, int(port))

    def _site(self, uid: str, token: str) -> None:
        """What the bridge finds: Slurm's commands, and the site's file."""
        state, shared = self._directory / "slurm", self._directory / "shared"
        for directory in (state, shared):
            directory.mkdir()
        for name, lines in SLURM.items():
            command = state / name
            command.write_text("#!/bin/sh\n" + lines.format(state=state) + "\n")
            command.chmod(0o755)
        tag = JobTag(uid, HEAD, 0, 1, 1)
        told = {"JobID": "101", "State": "RUNNING", "SubmitTime": "NOW", "StartTime": "NOW"}
        told |= {"BatchHost": "n1", "Partition": "main", "RestartCnt": "0", "exit_code": "0", "PriorityLong": "1"}
        told |= {"TimeLimit": "UNLIMITED", "Name": tag.job_name, "Comment": tag.comment}
        (state / "record").write_text(FIELD.join(told.get(field, "N/A") for field in QUEUE_FIELDS) + RECORD)
        site = {"site": "fair", "sharedDirectory": str(shared), "profiles": {"default": {"python": sys.executable}}}
        (self._directory / "site.yaml").write_text(json.dumps(site))
        (self._directory / "token").touch(0o600)
        (self._directory / "token").write_text(token)

    def _head(self, uid: str) -> None:
        """Once its job is submitted it is up."""
        deadline = time.monotonic() + PATIENCE
        while not (self._directory / "slurm" / "queue").exists():
            assert time.monotonic() < deadline, "the bridge has submitted no job"
            time.sleep(LOOK_SECONDS)
        ports = HeadPorts(gcs=1, dashboard=2, state=3, directory=4, gateway=self.direct[1])
        which = {"uid": uid, "attempt": 1, "serial": 1, "job_id": "101"}
        record = HeadRecord(**which, host="n1", address="127.0.0.1", ports=ports, started_at=datetime.now(UTC), up=True)
        (self._directory / "shared" / "clusters" / uid / FILE).write_text(record.model_dump_json(by_alias=True))

    def _bridge(self, address: str) -> subprocess.Popen[str]:
        environ = os.environ | {"PATH": f"{self._directory / 'slurm'}:{os.environ['PATH']}"}
        files = ("--site-file", "site.yaml", "--token-file", "token", "--ca", f"tls/{AUTHORITY_FILE}")
        return self._run("matrix_cli", "bridge", "run", "--hub", address, *files, environ=environ, directory=self._directory)

    def _run(self, *words: str, environ: dict[str, str] | None = None, directory: Path | None = None) -> subprocess.Popen[str]:
        argv, pipe = [sys.executable, "-m", *words], subprocess.PIPE
        with (self._directory / "log").open("a") as log:
            process = subprocess.Popen(argv, text=True, env=environ, cwd=directory, stdin=pipe, stdout=pipe, stderr=log)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(PATIENCE)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"{process.args!r} ended: see the log beside its files")
    return line


@contextmanager
def world(directory: Path) -> Iterator[World]:
    it = World(directory)
    try:
        it.start()
        yield it
    finally:
        it.stop()


def main(words: Sequence[str]) -> None:
    match words:
        case ["serve"]:
            serve()
        case ["hub", directory, digest, uid]:
            hub(Path(directory), digest, uid)


if __name__ == "__main__":
    main(sys.argv[1:])
