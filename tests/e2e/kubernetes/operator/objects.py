"""The objects of one namespace, as a user of the API server sees them."""

from __future__ import annotations

from typing import Any

from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import LabError

SECONDS = 150.0

GROUPS = {
    "matrixclusters": "/apis/matrix.dev/v1alpha1",
    "modeldeployments": "/apis/matrix.dev/v1alpha1",
    "rayclusters": "/apis/ray.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
}
KINDS = {"matrixclusters": "MatrixCluster", "modeldeployments": "ModelDeployment"}
MERGE = {"Content-Type": "application/merge-patch+json"}
OURS = ("rayclusters", "pods", "services", "secrets")
LABEL = "matrix.dev/uid"


class Objects:
    """Kinds go by their plurals."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._api = plane.api
        self._namespace = namespace

    def path(self, plural: str, name: str = "") -> str:
        base = f"{GROUPS.get(plural, '/api/v1')}/namespaces/{self._namespace}/{plural}"
        return f"{base}/{name}" if name else base

    def create(self, plural: str, name: str, spec: dict[str, Any]) -> Any:
        head = {"apiVersion": "matrix.dev/v1alpha1", "kind": KINDS[plural], "metadata": {"name": name}}
        return self._api.create(self.path(plural), {**head, "spec": spec})

    def merge(self, plural: str, name: str, change: dict[str, Any]) -> Any:
        answer = self._api.http.patch(self.path(plural, name), json=change, headers=MERGE)
        answer.raise_for_status()
        return answer.json()

    def get(self, plural: str, name: str) -> Any:
        return self._api.get(self.path(plural, name))

    def list(self, plural: str) -> list[Any]:
        items: list[Any] = self._api.get(self.path(plural))["items"]
        return items

    def delete(self, plural: str, name: str) -> None:
        self._api.delete(self.path(plural, name))

    def exists(self, plural: str, name: str) -> bool:
        return self._api.exists(self.path(plural, name))

    def condition(self, plural: str, name: str, type_: str = "Ready") -> dict[str, Any]:
        """Empty if there is none yet."""
        conditions = self.get(plural, name).get("status", {}).get("conditions", ())
        return next((dict(item) for item in conditions if item["type"] == type_), {})

    def ready(self, plural: str, name: str) -> bool:
        return self.condition(plural, name).get("status") == "True"

    def until_ready(self, plural: str, name: str, seconds: float = SECONDS) -> None:
        """Fails with what it says instead."""
        try:
            wait_for(lambda: self.ready(plural, name), f"{name} is ready", seconds)
        except LabError as error:
            raise AssertionError(f"{error}: {self.get(plural, name).get('status')}") from error

    def until_gone(self, plural: str, name: str, seconds: float = SECONDS) -> None:
        try:
            wait_for(lambda: not self.exists(plural, name), f"{name} is gone", seconds)
        except LabError as error:
            raise AssertionError(f"{error}: {self.get(plural, name)}, and there are {self.of_ours()}") from error

    def of_ours(self) -> list[str]:
        """What an operator has made and has not deleted."""
        found = [(plural, item) for plural in OURS for item in self.list(plural)]
        return [f"{plural}/{item['metadata']['name']}" for plural, item in found if LABEL in item["metadata"].get("labels", {})]
