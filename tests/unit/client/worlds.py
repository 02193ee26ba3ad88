"""A state directory with objects whose statuses are written by hand, and stand-ins for what works on them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from matrix_crds.keys import ObjectKey
from matrix_store.database import Database
from matrix_store.home import Home
from matrix_store.port import Event, EventType, StoredObject

LAB = ObjectKey("MatrixCluster", "default", "lab")
CHAT = ObjectKey("ModelDeployment", "default", "chat")
SPECS: Mapping[str, dict[str, Any]] = {
    "MatrixCluster": {},
    "ModelDeployment": {"clusterRef": {"name": "lab"}, "model": {"source": "hf://org/model"}, "engine": {"dummy": {}}},
}


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(type_: str, status: str, reason: str, message: str = "", *, generation: int = 1) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": ago(90),
        "observedGeneration": generation,
    }


def ready(status: str = "True", reason: str = "Ready", message: str = "all is well", **more: Any) -> dict[str, Any]:
    """A status with just a Ready condition."""
    return {
        "observedGeneration": 1,
        "summary": message.partition("\n")[0],
        "conditions": [condition("Ready", status, reason, message)],
    } | more


def manifest(key: ObjectKey, spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "matrix.dev/v1alpha1",
        "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace} | metadata,
        "spec": SPECS[key.kind] if spec is None else spec,
    }


@dataclass(frozen=True)
class World:
    """One state directory."""

    home: Home

    def put(self, key: ObjectKey, status: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> StoredObject:
        """Apply an object and write its status."""
        with closing(Database(self.home.database)) as database:
            stored, _ = database.objects.apply_all([manifest(key, spec)])[0]
            return database.objects.write_status(key, status, resource_version=stored.resource_version) if status else stored

    def keep(self, key: ObjectKey) -> None:
        """Put a finalizer on it: deleted, it stays."""
        with closing(Database(self.home.database)) as database:
            version = database.objects.get(key).resource_version
            database.objects.set_finalizers(key, ["matrix.dev/teardown"], resource_version=version)

    def let_go(self, key: ObjectKey) -> None:
        """Take the finalizer away."""
        with closing(Database(self.home.database)) as database:
            version = database.objects.get(key).resource_version
            database.objects.set_finalizers(key, [], resource_version=version)

    def delete(self, key: ObjectKey) -> None:
        with closing(Database(self.home.database)) as database:
            database.objects.delete(key)

    def find(self, key: ObjectKey) -> StoredObject | None:
        with closing(Database(self.home.database)) as database:
            return database.objects.find(key)

    def tell(self, key: ObjectKey, reason: str, message: str, count: int = 1) -> None:
        """Record an event of an object that exists."""
        now = datetime.now(UTC)
        with closing(Database(self.home.database)) as database:
            uid = database.objects.get(key).uid
            database.events.record(Event(key, uid, EventType.WARNING, reason, message, now - timedelta(seconds=60), now, count))

    def client_token(self, cluster: ObjectKey, token: str) -> None:
        """Write what the backend writes."""
        stored = self.find(cluster)
        assert stored is not None
        secrets = self.home.cluster(stored.uid) / "secrets"
        secrets.mkdir(parents=True)
        (secrets / "client-token").write_text(token)

    @contextmanager
    def controller(self) -> Iterator[None]:
        """Somebody holds the controller's lock and shows signs of life: this process."""
        ends = threading.Event()
        taken = threading.Event()

        def hold() -> None:
            with closing(Database(self.home.database)) as database:
                lock = database.lock()
                lock.acquire()
                taken.set()
                while not ends.wait(0.1):
                    lock.heartbeat()
                lock.release()

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert taken.wait(10)
            yield
        finally:
            ends.set()
            thread.join()


def new_world(root: Path) -> World:
    home = Home(root / "home")
    home.create()
    return World(home)


CONTROLLER = """
import os, signal, sys, time
from pathlib import Path
from matrix_store.database import Database
database = Database(Path(sys.argv[1]))
lock = database.lock()
lock.acquire({"session": os.getsid(0), "marked": "MATRIX_CLUSTER_UID" in os.environ})
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
try:
    while True:
        time.sleep(0.05)
        lock.heartbeat()
finally:
    lock.release()
"""


def controller_command(home: Home) -> list[str]:
    """A controller in a process of its own that holds the lock until it is told to end, and does nothing else."""
    return [sys.executable, "-c", CONTROLLER, str(home.database)]
