"""The chart as a platform engineer uses it: one release, a namespace of a team, and what is in both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import helm
from tests.lab.api import wait_for
from tests.lab.errors import LabError
from tests.lab.provision import Cluster

ROOT = Path(__file__).parents[4]
CHART = ROOT / "charts" / "matrix-operator"
EXAMPLE = ROOT / "examples" / "dummy.yaml"
CLUSTER, MODEL = "dummy", "parrot"
"""Of the example."""
OPERATOR = "app.kubernetes.io/component=operator"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
SECONDS = 300.0
"""Until something has come right. Idle machines take a tenth of it."""


@dataclass(frozen=True)
class Site:
    """A release of the chart in a namespace of its own."""

    cluster: Cluster
    namespace: str
    """Of the operator."""
    team: str
    """The namespace of a team."""

    @property
    def release(self) -> helm.Release:
        return helm.Release(self.cluster.kubeconfig, "matrix", self.namespace)

    def values(self, **more: str | int | bool) -> list[str]:
        """Options of Helm: the image that the cluster's machines have, workers that go soon, and `more` by their paths."""
        repository, _, tag = self.cluster.image.rpartition(":")
        given = {"image.repository": repository, "image.tag": tag, "clusters.drainSeconds": 10, **more}
        return [f"--set-json={name}={json.dumps(value)}" for name, value in given.items()]

    def kubectl(self, *arguments: str, stdin: str | None = None, namespace: str = "") -> str:
        """What it printed, in the team's namespace if no other is named. Raises LabError."""
        return self._run(["kubectl", "--namespace", namespace or self.team, *arguments], stdin)

    def _run(self, argv: Sequence[str], stdin: str | None = None) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where its plugin is
        environment = {**os.environ, "PATH": path, "KUBECONFIG": str(self.cluster.kubeconfig)}
        done = subprocess.run(argv, env=environment, input=stdin, text=True, capture_output=True, timeout=2 * SECONDS, check=False)
        if done.returncode:
            raise LabError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}\n{done.stdout.strip()}")
        return done.stdout.strip()

    def objects(self, *arguments: str, namespace: str = "") -> list[dict[str, Any]]:
        """Those that `kubectl get` finds."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", *arguments, "--output", "json", namespace=namespace))["items"]
        return found

    def apply_example(self) -> None:
        """With a head that fits beside the operators on a machine with two CPUs; to Ray it still has two."""
        text = EXAMPLE.read_text()
        assert "{cpu: 2, memory: 4Gi}" in text
        self.kubectl("apply", "--filename", "-", stdin=text.replace("{cpu: 2, memory: 4Gi}", "{cpu: 1500m, memory: 3Gi}"))

    def ready(self) -> None:
        """Returns when cluster and model are."""
        self.kubectl("wait", f"mxc/{CLUSTER}", f"mxd/{MODEL}", "--for=condition=Ready", f"--timeout={SECONDS:g}s")

    def answer(self) -> str:
        """What the model says, asked as kubectl's plugin asks."""
        for _ in range(5):  # the example lets one request of a hundred fail
            try:
                return self._run(["kubectl", "matrix", "chat", MODEL, "Hello", "--max-tokens", "8", "-n", self.team])
            except LabError as error:
                told = error
        raise told

    def identities(self) -> dict[str, list[str]]:
        """Of what must not be made anew: the RayCluster and its pods, by uid, with how often a container was started again."""
        clusters, pods = self.objects("rayclusters"), self.objects("pods", "--selector", f"ray.io/cluster={CLUSTER}")
        return {
            "RayClusters": [made["metadata"]["uid"] for made in clusters],
            "pods": sorted(pod["metadata"]["uid"] for pod in pods),
            "restarts": [str(status["restartCount"]) for pod in pods for status in pod["status"].get("containerStatuses", [])],
        }

    def operators(self) -> list[dict[str, Any]]:
        """The operator's pods that are not on their way out."""
        pods = self.objects("pods", "--selector", OPERATOR, namespace=self.namespace)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def ready_operators(self) -> list[str]:
        """Names of those that are Ready."""

        def is_ready(pod: dict[str, Any]) -> bool:
            return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))

        return sorted(pod["metadata"]["name"] for pod in self.operators() if is_ready(pod))

    def leader(self) -> str:
        """The name of the pod that acts; none while nobody does."""
        lease = json.loads(self.kubectl("get", "lease", "matrix-operator", "--output", "json", namespace=self.namespace))
        return str(lease["spec"].get("holderIdentity") or "").partition("_")[0]

    def acts(self, replicas: int) -> None:
        """Returns when an operator has carried out a change: so many replicas."""
        self.kubectl("scale", f"mxd/{MODEL}", f"--replicas={replicas}")
        self.kubectl("wait", f"mxd/{MODEL}", f"--for=jsonpath={{.status.readyReplicas}}={replicas}", f"--timeout={SECONDS:g}s")
        self.ready()

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        """Raises LabError with what the operators wrote."""

        def holds() -> bool:
            time.sleep(0.5)  # each look is a process of kubectl's
            return condition()

        try:
            wait_for(holds, what, seconds)
        except LabError as error:
            raise LabError(f"{error}\n{self.account()}") from None

    def account(self) -> str:
        """For the message of a failure."""
        pods = self.kubectl("get", "pods", "--all-namespaces", "--output", "wide")
        logs = self.kubectl("logs", "--selector", OPERATOR, "--tail=20", "--prefix", namespace=self.namespace)
        return f"{pods}\n{logs}"
