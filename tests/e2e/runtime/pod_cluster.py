"""A Ray cluster of stand-ins for pods, from the very templates that the KubeRay backend renders, started as KubeRay starts them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from matrix_crds.cluster import MatrixCluster
from matrix_crds.deployment import ModelDeployment
from matrix_operator.backends.kuberay.layout import layout
from matrix_operator.backends.kuberay.names import (
    CLIENT_TOKEN,
    DASHBOARD_PORT,
    DIRECTORY_PORT,
    GATEWAY_PORT,
    RAY_TOKEN,
    STATE_PORT,
    Object,
    gateway_service,
    head_service,
)
from matrix_operator.backends.kuberay.pods import head_template, worker_template
from matrix_operator.backends.kuberay.ray_params import head_params, worker_params
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from matrix_operator.serve_config import model_entry, serve_config, system_entry
from matrix_proto.state import STATE_PATH, Replica, ReplicaState, ReplicaView, State
from tests.e2e.runtime.pod import Pod
from tests.e2e.runtime.pod_network import PodNetwork
from tests.e2e.runtime.ray_cluster import eventually

TOKENS = {RAY_TOKEN: "ray-secret", CLIENT_TOKEN: "client-secret"}
BEARER = {"Authorization": f"Bearer {TOKENS[CLIENT_TOKEN]}"}
GCS_PORT = 6379
SPEC = {
    "head": {"resources": {"cpu": 1, "memory": "2Gi"}},
    "workerGroups": [{"name": "w", "replicas": 1, "resources": {"cpu": 2, "memory": "2Gi"}}],
}


class PodCluster:
    """A head, and workers as they are added. `user`: the uid of all processes; no image has a name for it."""

    def __init__(self, user: int = 23456, drain_seconds: int = 60) -> None:
        metadata = {"name": "lab", "namespace": "team", "uid": "11111111-2222-3333-4444-555555555555"}
        self.cluster = MatrixCluster.model_validate({"metadata": metadata, "spec": SPEC})
        self.settings = KubeRaySettings(image="none", run_as_user=user, drain_seconds=drain_seconds)
        self.network = PodNetwork()
        self.home = Path(tempfile.mkdtemp(prefix="mxpods"))
        self.home.chmod(0o755)
        self.models: list[ModelDeployment] = []
        self.workers: list[Pod] = []
        try:
            self.head = self._pod("head", head_template(self.cluster, self.settings), "127.0.0.1")
        except BaseException:
            self.network.remove()
            raise
        self._http = httpx2.Client(timeout=120, trust_env=False, headers={"Authorization": f"Bearer {TOKENS[RAY_TOKEN]}"})

    def start(self) -> None:
        """The head, with mx-system on it."""
        options = "--dashboard-agent-listen-port=52365 --dashboard-host=0.0.0.0 --metrics-export-port=8080"
        self._start(
            self.head, f"ray start --head --block {options}", head_params(self.cluster.spec.head.resources, works=False), "127.0.0.1"
        )
        eventually(lambda: self._kept(self.head) and self._serve_answers(), 360, "Ray's Serve API answers")
        self.put()
        eventually(self.state, 180, "mx-system answers")

    def add_worker(self) -> Pod:
        """One more, as soon as Ray knows it."""
        group, known = self.cluster.spec.worker_groups[0], eventually(self.alive, 120, "Ray tells its nodes")
        head = self._service_name(head_service(self.cluster))
        worker = self._pod(f"worker{len(self.workers)}", worker_template(self.cluster, group, self.settings), self.head.place.address)
        self.workers.append(worker)
        options = "--dashboard-agent-listen-port=52365 --metrics-export-port=8080"
        self._start(worker, f"ray start --address={head}:{GCS_PORT} --block {options}", worker_params(group), head)
        eventually(lambda: self._kept(worker) and self.alive() > known, 360, "the worker has joined")
        return worker

    def stop(self) -> None:
        """Nothing is left."""
        self._http.close()
        for pod in (*self.workers, self.head):
            pod.kill()
        self.network.remove()
        shutil.rmtree(self.home, ignore_errors=True)

    def deploy(self, name: str, **spec: Any) -> None:
        """A model of the dummy engine; what its spec does not say is small."""
        base = {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "resources": {"cpu": "500m", "memory": "64Mi"}, "drainSeconds": 30}
        model = ModelDeployment.model_validate({"metadata": {"name": name, "namespace": "team"}, "spec": base | spec})
        self.models = [*(item for item in self.models if item.metadata.name != name), model]
        self.put()

    def put(self) -> None:
        """What the control plane writes."""
        where = layout(self.cluster)
        body = serve_config([system_entry(where, self.models), *(model_entry(model, where) for model in self.models)])
        answer = self._http.put(f"{self.dashboard}/api/serve/applications/", json=body)
        assert answer.status_code == 200, answer.text

    @property
    def dashboard(self) -> str:
        return f"http://{self.head.place.address}:{DASHBOARD_PORT}"

    @property
    def gateway(self) -> str:
        return f"http://{self.head.place.address}:{GATEWAY_PORT}"

    @property
    def directory(self) -> str:
        return f"{self.head.place.address}:{DIRECTORY_PORT}"

    def alive(self) -> int:
        """Nodes that Ray takes for alive."""
        answer = self._http.get(
            f"{self.dashboard}/api/v0/nodes", params={"filter_keys": "state", "filter_predicates": "=", "filter_values": "ALIVE"}
        )
        return len(answer.raise_for_status().json()["data"]["result"]["result"])

    def state(self) -> State:
        answer = self._http.get(f"http://{self.head.place.address}:{STATE_PORT}{STATE_PATH}", headers=BEARER)
        return State.model_validate(answer.raise_for_status().json())

    def ready(self, name: str) -> list[ReplicaView]:
        """The replicas of a model that can be asked."""
        return [
            one
            for one in self.state().replicas
            if one.application == f"mx-md-{name}" and one.state is ReplicaState.READY and not one.suspect
        ]

    def replicas(
        self, name: str, count: int, wanted: Callable[[Replica], bool] = lambda _: True, seconds: float = 180
    ) -> list[ReplicaView]:
        """Those of a model, once there are so many that are ready and as wanted."""

        def look() -> list[ReplicaView]:
            found = [one for one in self.ready(name) if wanted(one)]
            return found if len(found) == count else []

        return eventually(look, seconds, f"{count} replicas of {name} are ready")

    def _kept(self, pod: Pod) -> bool:
        """Starts it again when it has ended, as the kubelet does: on a busy machine parts of Ray give up after 30 s."""
        if not pod.running:
            pod.start_again()
        return True

    def _serve_answers(self) -> bool:
        return self._http.get(f"{self.dashboard}/api/serve/applications/").status_code == 200

    def _service_name(self, service: str) -> str:
        return f"{service}.team.svc"

    def _pod(self, name: str, template: Object, head: str) -> Pod:
        place, home = self.network.add(), self.home / name
        services = (head_service, gateway_service)
        names = {place.name: place.address} | {self._service_name(service(self.cluster)): head for service in services}
        return Pod(place, template, {volume["name"]: self._volume(home, volume) for volume in template["spec"]["volumes"]}, names, home)

    def _volume(self, home: Path, volume: Object) -> Path:
        """As the kubelet makes it: the group is the pod's, and may write what is not a Secret."""
        secret, directory = "emptyDir" not in volume, home / "volumes" / volume["name"]
        directory.mkdir(parents=True)
        if volume["name"] == "matrix-secrets":
            for name, token in TOKENS.items():
                (directory / name).write_text(token)
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, 0, self.settings.run_as_user)
            path.chmod(0o440 if path.is_file() else 0o755 if secret else 0o2770)
        return directory

    def _start(self, pod: Pod, command: str, params: dict[str, str], head: str) -> None:
        written = " ".join(f"--{name}={value}" for name, value in params.items())
        added = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKENS[RAY_TOKEN],
            "RAY_ADDRESS": f"{head}:{GCS_PORT}",
            "RAY_PORT": str(GCS_PORT),
        }
        pod.start(f"ulimit -n 65536; {command} {written}", added)
