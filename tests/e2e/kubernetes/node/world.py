"""A MatrixCluster with a model on a cluster whose pods run, as its user sees it, and as one hurts it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix_store.kubernetes import pods as in_pods
from matrix_store.kubernetes.connection import connect
from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.processes import Process, end_all
from tests.lab.provision import Cluster

SECONDS = 300.0
"""Until something has come right. Idle machines take a fifth of it."""
CLUSTER, MODEL = "demo", "parrot"
SPEC: dict[str, Any] = {
    "head": {"resources": {"cpu": "1", "memory": "2Gi"}},
    "workerGroups": [{"name": "cpu", "replicas": 1, "resources": {"cpu": "500m", "memory": "1536Mi"}}],
}
MATRIX = str(Path(sys.executable).with_name("matrix"))


def operator(cluster: Cluster, namespace: str, directory: Path, lease_namespace: str, image: str = "") -> Process:
    """`matrix operator run` for that namespace, as a process outside of the cluster; not started yet. `image`: of the nodes, if it is not
    the cluster's."""
    lease = ("--lease-name", f"operator-of-{namespace}", "--lease-namespace", lease_namespace)
    where = ("--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace, *lease)
    ports = ("--health-port", "0", "--metrics-port", "0")
    argv = [MATRIX, "operator", "run", *where, *ports, "--image", image or cluster.image, "--drain-seconds", "10"]
    return Process("operator", argv, directory, directory / "operator.log")


@contextmanager
def at_work(cluster: Cluster, directory: Path, image: str = "") -> Iterator[World]:
    """A new namespace with an operator, whose log goes to the directory, and nothing in it yet."""
    with cluster.namespace() as namespace:
        world = World(cluster, namespace, operator(cluster, namespace, directory, namespace, image))
        world.operator.start()
        try:
            yield world
        finally:
            end_all([world.operator])


@dataclass(frozen=True)
class World:
    """One namespace, in which an operator is at work."""

    cluster: Cluster
    namespace: str
    operator: Process

    def create(self, name: str = CLUSTER, model: str = MODEL, **spec: Any) -> None:
        """A MatrixCluster and a model of the engine `dummy` on it."""
        self.create_cluster(name, **spec)
        self.create_model(model, name)

    def create_cluster(self, name: str = CLUSTER, **spec: Any) -> None:
        """The MatrixCluster alone."""
        self._create("MatrixCluster", name, {**SPEC, **spec})

    def create_model(self, model: str = MODEL, name: str = CLUSTER) -> None:
        """The model alone."""
        engine = {"dummy": {"tokensPerSecond": 200, "firstTokenSeconds": "0.01", "seed": 1}}
        resources = {"cpu": "100m", "memory": "256Mi"}
        self._create("ModelDeployment", model, {"clusterRef": {"name": name}, "engine": engine, "resources": resources})

    def edit(self, kind: str, name: str, **spec: Any) -> None:
        """Replaces these fields of its spec."""
        headers = {"Content-Type": "application/merge-patch+json"}
        self.cluster.api.http.patch(self.path(kind, name), json={"spec": spec}, headers=headers).raise_for_status()

    def delete(self, name: str = CLUSTER, model: str = MODEL) -> None:
        """Marks both for deletion."""
        self.cluster.api.delete(self.path("ModelDeployment", model))
        self.cluster.api.delete(self.path("MatrixCluster", name))

    def end(self, name: str = CLUSTER, model: str = MODEL) -> None:
        """Deletes both, and returns when nothing is left of them."""
        self.delete(name, model)
        for kind, which in (("MatrixCluster", name), ("ModelDeployment", model)):
            self.wait(lambda kind=kind, which=which: not self.cluster.api.exists(self.path(kind, which)), f"{which} is gone")  # type: ignore[misc]
        self.wait(lambda: not self.pods(name=name), f"the pods of {name} are gone")

    def path(self, kind: str, name: str = "") -> str:
        return f"/apis/matrix.dev/v1alpha1/namespaces/{self.namespace}/{kind.lower()}s" + (f"/{name}" if name else "")

    def condition(self, kind: str, name: str, which: str = "Ready") -> dict[str, Any]:
        """Empty until it is there."""
        conditions = self.cluster.api.get(self.path(kind, name)).get("status", {}).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == which), {})

    def is_ready(self, name: str = CLUSTER, model: str = MODEL) -> bool:
        """Whether cluster and model say so."""
        found = [self.condition("MatrixCluster", name), self.condition("ModelDeployment", model)]
        return all(condition.get("status") == "True" for condition in found)

    def ready(self, seconds: float = SECONDS, name: str = CLUSTER, model: str = MODEL) -> None:
        self.wait(lambda: self.is_ready(name, model), "cluster and model are Ready", seconds)

    def noticed(self, seconds: float = SECONDS) -> str:
        """What the cluster's Ready says as soon as it is not True."""
        self.wait(
            lambda: self.condition("MatrixCluster", CLUSTER).get("status") != "True", "the cluster says that something is wrong", seconds
        )
        return self.words()

    def says(self, words: str, kind: str = "MatrixCluster", name: str = CLUSTER, seconds: float = SECONDS) -> None:
        """Returns when Ready has these words, as reason or in the message."""

        self.wait(lambda: words in self.words(kind, name), f"{kind} {name} says {words!r}", seconds)

    def words(self, kind: str = "MatrixCluster", name: str = CLUSTER) -> str:
        """Of its Ready, as of now."""
        ready = self.condition(kind, name)
        return f"{ready.get('reason')}: {ready.get('message')}"

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        """Raises LabError with what the objects say and the end of the operator's log."""

        def holds() -> bool:
            self.operator.require_running()
            return condition()

        try:
            wait_for(holds, what, seconds)
        except LabError as error:
            raise LabError(f"{error}\n{self.account()}\n{self.operator.tail(30)}") from None

    def account(self) -> str:
        """Every condition and every pod, for a failure's message."""
        lines = []
        for kind in ("MatrixCluster", "ModelDeployment"):
            for item in self.cluster.api.get(self.path(kind))["items"]:
                conditions = item.get("status", {}).get("conditions", [])
                lines += [f"{item['metadata']['name']} {c['type']}={c['status']} {c['reason']}: {c['message']}" for c in conditions]
        return "\n".join([*lines, *(f"{pod['metadata']['name']} {pod['status'].get('phase')}" for pod in self.pods())])

    def workers(self, name: str = CLUSTER) -> str:
        """Ready and desired, as the cluster's status has them."""
        return str(self.cluster.api.get(self.path("MatrixCluster", name)).get("status", {}).get("workers", {}).get("display"))

    def pods(self, node_type: str = "", name: str = CLUSTER) -> list[dict[str, Any]]:
        """Of one MatrixCluster, those of one type (head, worker) or all."""
        labels = f"ray.io/cluster={name}" + (f",ray.io/node-type={node_type}" if node_type else "")
        found: list[dict[str, Any]] = self.cluster.api.get(f"{self._pods}?labelSelector={labels}")["items"]
        return found

    def pod(self, node_type: str) -> str:
        """The name of the one pod of that type."""
        (pod,) = self.pods(node_type)
        return str(pod["metadata"]["name"])

    def delete_pod(self, name: str) -> None:
        self.cluster.api.delete(f"{self._pods}/{name}")

    def exec(self, pod: str, *argv: str) -> list[str]:
        """The lines that a program in Ray's container printed."""
        container = "ray-head" if pod in {found["metadata"]["name"] for found in self.pods("head")} else "ray-worker"

        async def lines() -> list[str]:
            connection = connect(kubeconfig=self.cluster.kubeconfig)
            try:
                return [line async for line in in_pods.run(connection, self.namespace, pod, container, argv)]
            finally:
                await connection.http.aclose()

        return asyncio.run(lines())

    def matrix(self, *arguments: str) -> subprocess.Popen[str]:
        """That command of `matrix`, begun."""
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)}
        argv: Sequence[str] = (MATRIX, "--context", "kubernetes", "--namespace", self.namespace, *arguments)
        return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def answer(self) -> str:
        """What the model answers now."""
        process = self.matrix("chat", MODEL, "hello")
        printed, complaints = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, complaints
        return printed.strip()

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def _create(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        manifest = {"apiVersion": "matrix.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.cluster.api.create(self.path(kind), manifest)
