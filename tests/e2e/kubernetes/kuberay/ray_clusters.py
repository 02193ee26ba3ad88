"""RayClusters for tests of what KubeRay does, be it the real one or the stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from tests.lab.api import Api
from tests.lab.kuberay.client import Object
from tests.lab.kuberay.standin import InThread

T = TypeVar("T")

LONG = 600.0
"""A pace at which nothing comes to its end before the test has it so."""
MERGE = {"Content-Type": "application/merge-patch+json"}
JSON = {"Content-Type": "application/json-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}


@dataclass(frozen=True)
class RayClusters:
    """Those of one namespace."""

    api: Api
    namespace: str
    image: str
    """Of Ray, where pods really run."""
    standin: InThread | None
    """None: KubeRay itself makes the pods, and Ray runs in them."""

    @property
    def seconds(self) -> float:
        """Within which anything may be expected."""
        return 90.0 if self.standin else 300.0

    @property
    def a_while(self) -> float:
        """Seconds after which what did not happen is taken not to happen."""
        return 1.0 if self.standin else 15.0

    # --- objects ---

    def path(self, name: str = "") -> str:
        return f"/apis/ray.io/v1/namespaces/{self.namespace}/rayclusters" + (f"/{name}" if name else "")

    def core(self, kind: str, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def make(self, name: str, *groups: Object, **spec: Any) -> Object:
        """Returns when it is stored."""
        made: Object = self.api.create(self.path(), self.manifest(name, *groups, **spec))
        return made

    def manifest(self, name: str, *groups: Object, **spec: Any) -> Object:
        head = {"rayStartParams": {"num-cpus": "0"}, "template": self.template("ray-head")}
        whole = {"rayVersion": "2.60.0", "headGroupSpec": head, "workerGroupSpecs": list(groups), **spec}
        return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name}, "spec": whole}

    def group(self, replicas: int, name: str = "w", *, most: int = 5, least: int = 0, **fields: Any) -> Object:
        group = {"groupName": name, "replicas": replicas, "minReplicas": least, "maxReplicas": most, "rayStartParams": {}}
        return {**group, "template": self.template("ray-worker"), **fields}

    def template(self, container: str, **spec: Any) -> Object:
        resources = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "2Gi"}}
        return {"spec": {"containers": [{"name": container, "image": self.image, "resources": resources}], **spec}}

    def get(self, name: str) -> Object:
        found: Object = self.api.get(self.path(name))
        return found

    def status(self, name: str) -> Object:
        found: Object = self.get(name).get("status") or {}
        return found

    def condition(self, name: str, type_: str) -> Object:
        """Empty if it is not there."""
        return _condition(self.status(name), type_)

    def pods(self, name: str, node_type: str = "") -> list[Object]:
        """Those of a RayCluster, ending ones included; `node_type`: head or worker."""
        selector = f"ray.io/cluster={name}" + (f",ray.io/node-type={node_type}" if node_type else "")
        found: list[Object] = self.api.get(f"{self.core('pods')}?labelSelector={selector}")["items"]
        return found

    def head(self, name: str) -> Object:
        return self.pods(name, "head")[0]

    def events(self, name: str) -> list[Object]:
        """About a RayCluster."""
        found: list[Object] = self.api.get(f"{self.core('events')}?fieldSelector=involvedObject.kind=RayCluster")["items"]
        return [event for event in found if event["involvedObject"]["name"] == name]

    # --- changes ---

    def merge(self, name: str, spec: Mapping[str, Any]) -> Object:
        return self._changed("PATCH", self.path(name), {"spec": spec}, MERGE)

    def patch(self, name: str, *operations: Object) -> Object:
        return self._changed("PATCH", self.path(name), list(operations), JSON)

    def scale(self, name: str, replicas: int, victims: Sequence[str] | None = None, group: int = 0) -> None:
        """`victims`: the names of the pods to delete."""
        spec = f"/spec/workerGroupSpecs/{group}"
        operations: list[Object] = [{"op": "replace", "path": f"{spec}/replicas", "value": replicas}]
        if victims is not None:
            operations.append({"op": "add", "path": f"{spec}/scaleStrategy", "value": {"workersToDelete": list(victims)}})
        self.patch(name, *operations)

    def apply(self, manifest: Object, manager: str, *, force: bool = False) -> httpx2.Response:
        """Server-side; a conflict is an answer too."""
        params = f"?fieldManager={manager}&force={str(force).lower()}"
        return self.api.http.request("PATCH", self.path(manifest["metadata"]["name"]) + params, json=manifest, headers=APPLY)

    def pod_status(self, pod: Object, status: Object) -> None:
        self._changed("PATCH", self.core("pods", pod["metadata"]["name"]) + "/status", {"status": status}, MERGE)

    def _changed(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Object:
        answer = self.api.http.request(method, path, json=body, headers=dict(headers))
        assert answer.is_success, answer.text
        found: Object = answer.json()
        return found

    # --- waiting ---

    def pace(self, **seconds: float) -> None:
        """Of the stand-in's machines; real ones have their own."""
        if self.standin:
            self.standin.set(self.standin.pace, **seconds)

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """What `look` gives, once it is true."""
        deadline = time.monotonic() + self.seconds
        while not (found := look()):
            assert time.monotonic() < deadline, f"{what}: not within {self.seconds:g} s"
            time.sleep(0.02 if self.standin else 0.5)
        return found

    def stays(self, look: Callable[[], bool], what: str) -> None:
        """It holds now and for a while."""
        deadline = time.monotonic() + self.a_while
        while time.monotonic() < deadline:
            assert look(), what
            time.sleep(0.1)

    def ready(self, name: str, workers: int = 0) -> Object:
        """The status, once the head and that many workers are ready, and KubeRay says so."""

        def look() -> Object | None:
            status = self.status(name)
            counts = (status.get("readyWorkerReplicas", 0), status.get("availableWorkerReplicas", 0), len(self.pods(name, "worker")))
            head_ready = _condition(status, "HeadPodReady").get("status") == "True"
            return status if status.get("state") == "ready" and counts == (workers,) * 3 and head_ready else None

        return self.until(look, f"RayCluster {name} is ready with {workers} workers")

    def gone(self, name: str) -> None:
        """Returns when neither it nor any pod of it is there."""
        self.until(lambda: not self.api.exists(self.path(name)) and not self.pods(name), f"all of RayCluster {name} is gone")


def _condition(status: Object, type_: str) -> Object:
    return next((entry for entry in status.get("conditions", ()) if entry["type"] == type_), {})


def uid(found: Object) -> str:
    return str(found["metadata"]["uid"])


def names(found: Sequence[Object]) -> set[str]:
    return {item["metadata"]["name"] for item in found}
