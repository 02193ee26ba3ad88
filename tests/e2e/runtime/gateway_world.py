"""A gateway without Ray: the real HAProxy and side-car in a process of their own, told by the test what a directory would say, in front of
replicas that are processes as well: python -m tests.e2e.runtime.gateway_world gateway|replica ... are those processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2

from matrix_client.directory_watch import KnownReplica
from matrix_crds.deployment import DummyEngine
from matrix_proto.state import Gateway as Report
from matrix_proto.state import Load, ReplicaState, State
from matrix_runtime.engines.dummy import DummyAdapter
from matrix_runtime.gateway.board import KnownBoard
from matrix_runtime.gateway.gateway import Gateway
from matrix_runtime.gateway.settings import GatewaySettings
from matrix_runtime.serving.servers import Servers
from matrix_runtime.tokens import TokenFile
from tests.e2e.runtime.ray_cluster import CLIENT_TOKEN, eventually
from tests.lab.ports import free_port

KEY = {"Authorization": f"Bearer {CLIENT_TOKEN}"}


@dataclass
class ReplicaProcess:
    """A dummy replica: its own process, port and state."""

    id: str
    model: str
    url: str
    grpc: str
    process: subprocess.Popen[bytes]
    state: str = "Ready"
    suspect: bool = False
    ongoing: int = 0

    def told(self) -> dict[str, Any]:
        fields = ("id", "model", "url", "grpc", "state", "suspect", "ongoing")
        return {name: getattr(self, name) for name in fields}


@dataclass
class World:
    """The gateway's process, its replicas, and what it is told."""

    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="mxg")))
    port: int = field(default_factory=free_port)
    models: list[dict[str, Any]] = field(default_factory=list)
    replicas: dict[str, ReplicaProcess] = field(default_factory=dict)
    gateway: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> Path:
        return self.home / "secrets"

    def start(self) -> None:
        self.secrets.mkdir(exist_ok=True)
        (self.secrets / "client-token").write_text(CLIENT_TOKEN)
        self.tell()
        self.start_gateway()

    def start_gateway(self) -> None:
        command = [sys.executable, "-m", __name__, "gateway", str(self.home), str(self.port)]
        log = (self.home / "gateway.log").open("ab")
        self.gateway = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(self.home)}, stdout=log, stderr=log)
        eventually(self.report, 60, "the gateway reports")

    def stop(self) -> None:
        for process in [self.gateway, *(replica.process for replica in self.replicas.values())]:
            if process is not None:
                process.kill()
                process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def declare(self, *models: dict[str, Any] | str) -> None:
        """Returns when the gateway, if it runs, has heard of them."""
        named = [{"name": model} if isinstance(model, str) else model for model in models]
        self.models = [{"application": f"mx-md-{model['name']}"} | model for model in named]
        self.tell()
        if self.gateway is not None:
            names = {model["name"] for model in named}
            eventually(lambda: {model["id"] for model in self.listed()} == names, 60, "the models are declared")

    def add(self, id_: str, model: str = "m", state: str = "Ready", **engine: Any) -> ReplicaProcess:
        """Starts a replica; the gateway is told of it."""
        where = self.home / f"{id_}.json"
        where.unlink(missing_ok=True)
        command = [sys.executable, "-m", __name__, "replica", str(self.secrets), str(where), model, json.dumps(engine)]
        log = (self.home / f"{id_}.log").open("ab")
        process = subprocess.Popen(command, stdout=log, stderr=log)
        url, grpc = json.loads(eventually(lambda: where.exists() and where.read_text(), 60, "the replica answers"))
        replica = ReplicaProcess(id_, model, url, grpc, process, state)
        self.replicas[id_] = replica
        self.tell()
        return replica

    def remove(self, id_: str) -> None:
        """The directory forgets it, and its process ends."""
        replica = self.replicas.pop(id_)
        self.tell()
        replica.process.kill()
        replica.process.wait()

    def tell(self) -> None:
        told = {"models": self.models, "replicas": [replica.told() for replica in self.replicas.values()]}
        draft = self.home / "world.tmp"
        draft.write_text(json.dumps(told))
        draft.replace(self.home / "world.json")

    def report(self) -> Report | None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return Report.model_validate_json((self.home / "report.json").read_bytes())
        return None

    def ready(self) -> Report:
        return eventually(lambda: (report := self.report()) and report.ready and report, 60, "the gateway is ready")

    def serves(self, *models: str) -> None:
        """Until the gateway says that all of these have a replica."""
        eventually(lambda: set(models) <= set(self.served()), 60, f"{', '.join(models)} can be asked")

    def served(self) -> list[str]:
        return [model["id"] for model in self.listed() if model["ready"]]

    def listed(self) -> list[dict[str, Any]]:
        """GET /v1/models."""
        answer = httpx2.get(f"{self.url}/v1/models", headers=KEY).raise_for_status()
        return list(answer.json()["data"])

    def admin(self, command: str) -> str:
        """An answer of HAProxy's runtime socket."""
        path = next(self.home.glob("mx-gateway-*/admin.sock"))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


class ToldReplicas:
    """What a DirectoryWatch offers, from the world's file."""

    connected, last_error = True, ""

    def __init__(self) -> None:
        self.replicas: Mapping[str, KnownReplica] = MappingProxyType({})

    def take(self, told: list[dict[str, Any]]) -> None:
        self.replicas = MappingProxyType({one["id"]: _known(one) for one in told})


def _known(told: dict[str, Any]) -> KnownReplica:
    return KnownReplica(
        id=told["id"],
        application=f"mx-md-{told['model']}",
        model=told["model"],
        state=ReplicaState(told["state"]),
        grpc_address=told["grpc"],
        http_url=told["url"],
        suspect=told["suspect"],
        load=Load(ongoing=told["ongoing"]),
    )


async def run_gateway(home: Path, port: int) -> None:
    watch = ToldReplicas()

    async def look() -> State:
        raise OSError("there is no directory here")

    def tell(report: Report) -> None:
        draft = home / "report.tmp"
        draft.write_text(report.model_dump_json())
        draft.replace(home / "report.json")

    board = KnownBoard(watch, look)
    gateway = Gateway("127.0.0.1", port, f"http://127.0.0.1:{port}", home / "secrets", board, tell)
    running = asyncio.create_task(gateway.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    known = ""
    while not running.done():
        if (text := (home / "world.json").read_text()) != known:
            known, told = text, json.loads(text)
            watch.take(told["replicas"])
            board.configure(GatewaySettings.model_validate({"models": told["models"]}))
        await asyncio.sleep(0.05)
    await gateway.stop()


async def run_replica(secrets: Path, where: Path, model: str, settings: dict[str, Any]) -> None:
    engine = DummyAdapter(DummyEngine.model_validate(settings), model)
    servers = Servers(engine, model, TokenFile(secrets / "client-token"))
    await engine.load(None, servers.meter)
    addresses = await servers.start("127.0.0.1", "127.0.0.1")
    draft = where.with_suffix(".tmp")
    draft.write_text(json.dumps(addresses))
    draft.replace(where)
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    await servers.drain(20)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["gateway", home, port]:
            asyncio.run(run_gateway(Path(home), int(port)))
        case ["replica", secrets, where, model, engine]:
            asyncio.run(run_replica(Path(secrets), Path(where), model, json.loads(engine)))
