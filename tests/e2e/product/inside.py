"""A running cluster seen from inside: its processes by part, Ray's REST API, the store, and somebody who keeps asking a model."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from types import TracebackType
from typing import Any

import psutil

from matrix_client import Matrix
from matrix_client.errors import ClientError
from matrix_crds.keys import ObjectKey
from matrix_crds.registry import KINDS
from matrix_operator.backends.local.backend import LocalBackend
from matrix_operator.backends.local.journal import HEAD_PARTS, Journal
from matrix_operator.backends.local.procfs import Processes
from matrix_operator.backends.local.view import is_part
from matrix_operator.backends.port import RayAddress
from matrix_store.database import Database
from matrix_store.errors import StoreError
from matrix_store.home import Home
from matrix_store.port import Event, Raw, StoredObject
from tests.e2e.product.product import Product

NAMESPACE = "default"

MODEL = "d"
"""The deployment of the cluster that a module of tests shares (conftest.py)."""


class Inside:
    """One cluster. Looks only, but for `call` with another method than GET."""

    def __init__(self, product: Product, name: str) -> None:
        self.product = product
        self.name = name
        self.uid = str(product.get(f"mxc/{name}")["metadata"]["uid"])
        self.journal = Journal(product.home, self.uid)

    def pids(self, part: str) -> list[int]:
        """Of the processes that were started as that part: gcs, dashboard, raylet, launcher."""
        return sorted(
            process.identity.pid
            for process in Processes().marked(self.uid)
            if process.part == part and process.leads_session and is_part(part, process.argv)
        )

    def parts(self) -> dict[str, list[int]]:
        return {part: self.pids(part) for part in HEAD_PARTS}

    def titled(self, title: str) -> list[int]:
        """Of the processes with that title, such as ray::ServeController."""
        found = [process.identity.pid for process in Processes().marked(self.uid) if title in "".join(process.argv[:1])]
        return sorted(pid for pid in found if parent(pid) not in found)  # what one of them starts has its title until its own begins

    def replica(self, model: str) -> list[int]:
        return self.titled(f"ray::ServeReplica:mx-md-{model}:")

    def address(self) -> RayAddress:
        record = self.journal.cluster()
        assert record is not None
        address = LocalBackend(self.product.home)._address(self.uid)
        assert address is not None
        return address

    def call(self, path: str, body: object = None, method: str = "GET", timeout: float = 20) -> Any:
        """Ray's REST API; None while it does not answer as it should."""
        address = self.address()
        headers = {"Authorization": f"Bearer {address.ray_token}", "Content-Type": "application/json"}
        return ask(f"{address.dashboard_url}{path}", headers, body, method, timeout)

    def state(self) -> Any:
        """The directory's answer; None while there is none."""
        address = self.address()
        return ask(f"{address.state_url}/matrix/v1/state", {"Authorization": f"Bearer {address.client_token}"}, timeout=3)

    def applications(self) -> dict[str, str]:
        """Serve's applications and their states; {} while Serve does not answer."""
        answer = self.call("/api/serve/applications/") or {}
        return {name: str(app["status"]) for name, app in answer.get("applications", {}).items()}


def parent(pid: int) -> int | None:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).ppid()
    return None


def ask(url: str, headers: dict[str, str] | None = None, body: object = None, method: str = "GET", timeout: float = 20) -> Any:
    """The JSON that a server answers; None while it does not answer with HTTP 200 and JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.loads(answer.read() or b"{}")
    except (urllib.error.URLError, OSError, ValueError):
        return None


class Objects:
    """The state file, read without starting a command. A context."""

    def __init__(self, home: Home) -> None:
        self._database = Database(home.database)

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def apply(self, *manifests: Raw) -> None:
        """Without starting a controller."""
        self._database.objects.apply_all(manifests)

    def delete(self, kind: str, name: str) -> None:
        """Without starting a controller."""
        self._database.objects.delete(ObjectKey(kind, NAMESPACE, name))

    def find(self, kind: str, name: str) -> StoredObject | None:
        listed: Sequence[StoredObject] = self._database.objects.list(kind)
        return next((stored for stored in listed if stored.key.name == name), None)

    def all(self) -> dict[ObjectKey, StoredObject]:
        return {stored.key: stored for kind in KINDS for stored in self._database.objects.list(kind.kind)}

    def status(self, kind: str, name: str) -> Raw:
        stored = self.find(kind, name)
        return (stored.raw.get("status") or {}) if stored else {}

    def condition(self, kind: str, name: str, type_: str = "Ready") -> Raw:
        return next((item for item in self.status(kind, name).get("conditions", ()) if item["type"] == type_), {})

    def is_ready(self, kind: str, name: str) -> bool:
        """Ready, and not of an older generation."""
        stored = self.find(kind, name)
        seen = stored is not None and (stored.raw.get("status") or {}).get("observedGeneration") == stored.generation
        return seen and self.condition(kind, name).get("status") == "True"

    def events(self, since: float) -> list[Event]:
        """Those that happened, or happened again, after that moment (time.time())."""
        return [event for event in self._database.events.list(None) if event.last.timestamp() >= since]


class Traffic:
    """A context: somebody asks a model one question after the other, by streams, as a user's script does with `Matrix().chat`."""

    def __init__(self, home: Home, model: str) -> None:
        self.home = home
        self.model = model
        self.errors: list[str] = []
        self._pieces: list[float] = []
        self._begun, self._ended = time.monotonic(), 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="traffic")

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = time.monotonic()
        self._stop.set()
        self._thread.join()

    @property
    def pieces(self) -> int:
        """How many have come."""
        return len(self._pieces)

    @property
    def longest_silence(self) -> float:
        """Seconds between two pieces, at most, from the first one on: what comes before is the client's own start."""
        moments = [*(self._pieces or (self._begun,)), self._ended or time.monotonic()]
        return max(later - earlier for earlier, later in pairwise(moments))

    def _ask(self) -> None:
        with Matrix(home=self.home.root) as matrix:
            number = 0
            while not self._stop.is_set():
                number += 1
                try:
                    self._read(matrix, f"question {number}")
                except (ClientError, StoreError) as error:
                    self.errors.append(f"{type(error).__name__}: {error}")
                    time.sleep(0.1)

    def _read(self, matrix: Matrix, question: str) -> None:
        for _ in matrix.chat(self.model, question, stream=True, timeout=10):
            if self._stop.is_set():
                return
            self._pieces.append(time.monotonic())
