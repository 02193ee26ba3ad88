"""An engine host without Ray around it: the process that answers requests, spoken to as its replica speaks to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import httpx2
import psutil
import pytest

from matrix_proto import inference_pb2_grpc
from matrix_proto.state import Load as Busyness
from matrix_runtime.engines.port import EngineSettings
from matrix_runtime.engines.select import environment
from matrix_runtime.serving.channel import EVENTS, Busy, Checked, Drain, Failed, HostSpec, Load, Ready, encode
from tests.e2e.runtime.ray_cluster import eventually

TOKEN = "client-secret"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
METADATA = (("authorization", f"Bearer {TOKEN}"),)
DUMMY: dict[str, Any] = {"dummy": {"tokensPerSecond": 1_000_000, "firstTokenSeconds": "0"}}


class EngineHost:
    """Runs until the `with` block ends. `name` is the served model's."""

    def __init__(self, engine: dict[str, Any] = DUMMY, model: Path | None = None, name: str = "m", seconds: float = 300) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="mxh")
        token = Path(self._home.name) / "token"
        token.write_text(TOKEN)
        resources = {"cpu": "1", "memory": "1Gi"}
        settings = EngineSettings.model_validate(
            {"engine": engine, "servedName": name, "source": f"file://{model}", "resources": resources}
        )
        ours, theirs = socket.socketpair()
        self._log = (Path(self._home.name) / "log").open("w+b")
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "matrix_runtime.serving.host", str(theirs.fileno())],
                env=os.environ | environment(settings) | {"TMPDIR": self._home.name},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
        self._channel = ours
        self._channel.settimeout(seconds)
        self._events = ours.makefile("rb")
        self.busy = Busyness()
        self.failed: Failed | None = None
        self._send(HostSpec(settings=settings, bind_host="127.0.0.1", announced_host="127.0.0.1", token_file=str(token)))
        try:
            self._expect(Checked)
            self._send(Load(model=str(model) if model else None))
            ready = self._expect(Ready)
        except BaseException:
            self.close()
            raise
        self.url, self.grpc_address, self.name = ready.url, ready.grpc_address, name
        self._channel.settimeout(None)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self.grpc = grpc.insecure_channel(self.grpc_address, options=[("grpc.max_receive_message_length", -1)])
        self.stub = inference_pb2_grpc.InferenceStub(self.grpc)
        self.http = httpx2.Client(
            base_url=self.url, headers=HEADERS, timeout=60, trust_env=False, limits=httpx2.Limits(max_connections=500)
        )

    def __enter__(self) -> EngineHost:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.grpc.close()
        self.http.close()
        self.close()

    def close(self) -> None:
        """Ends it at once; its engine core goes with it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)
        self._channel.close()
        self._log.close()
        self._home.cleanup()

    def drain(self, seconds: float) -> None:
        """Tells it to finish what is in flight, and to end."""
        self._send(Drain(seconds=seconds))

    def children(self) -> list[psutil.Process]:
        """The engine core, where there is one."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def memory(self) -> int:
        """Bytes of memory of the host itself."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def metrics(self) -> dict[str, float]:
        """Every sample of its /metrics, by name and labels as written there."""
        lines = self.http.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line and not line.startswith("#")}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(value for key, value in self.metrics().items() if key.split("{")[0] == name and all(label in key for label in wanted))

    def running(self) -> float:
        """Sequences in the engine now."""
        return self.metric("vllm:num_requests_running") if self.children() else self.metric("matrix_requests_in_flight")

    def until_running(self, count: int, seconds: float = 30) -> None:
        """Waits for so many sequences in the engine."""
        eventually(lambda: self.running() == count, seconds, f"{count} sequences in the engine")

    def log(self) -> str:
        """What it has printed."""
        return Path(self._log.name).read_text(errors="replace")

    def _send(self, message: Any) -> None:
        self._channel.sendall(encode(message))

    def _expect(self, kind: type[Any]) -> Any:
        event = EVENTS.validate_json(self._events.readline())
        assert isinstance(event, kind), f"{event}\n{self.log()[-3000:]}"
        return event

    def _read(self) -> None:
        try:
            for line in self._events:
                event = EVENTS.validate_json(line)
                if isinstance(event, Busy):
                    self.busy = event.load
                elif isinstance(event, Failed):
                    self.failed = event
        except (OSError, ValueError):
            return


def refused(call: object) -> tuple[grpc.StatusCode, dict[str, str], str]:
    """Status, trailing metadata and words of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call)  # type: ignore[call-overload]
    error = caught.value
    return error.code(), dict(error.trailing_metadata() or ()), error.details() or ""
