"""A real node for a control plane of the lab: kubelet, containerd, kube-proxy and a DNS of the cluster, in namespaces of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab import build, oci
from tests.lab.api import Api, wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import LabError
from tests.lab.node import addresses, cgroups, settings
from tests.lab.node.space import Space
from tests.lab.processes import Process, end_all

_SECONDS = 60.0
_IMPORT_NAMESPACE = "k8s.io"
"""Where containerd keeps what Kubernetes sees."""


def ensure(tell: Callable[[str], object] = lambda _: None) -> tuple[Path, Path]:
    """Where the node's own programs are, and CoreDNS, after building what was not there. Raises GoMissing, LabError."""
    return build.ensure(build.NODE, tell), build.ensure(build.DNS, tell, sources=build.DNS_SOURCES)


class Node:
    """The one node of a control plane, between `with` and its end. The control plane has to listen at `addresses.HOST`, which is there
    as soon as the space is.

    Pods reach each other, services, the API server and this machine, and nothing beyond it; images come from `load` alone.
    """

    containerd: Process
    kubelet: Process
    proxy: Process
    dns: Process

    def __init__(self, plane: ControlPlane, space: Space) -> None:
        self._plane = plane
        self._space = space
        self._directory = space.directory
        self._processes: list[Process] = []
        self._stack = ExitStack()

    @property
    def name(self) -> str:
        """Of the object."""
        return settings.NAME

    def __enter__(self) -> Node:
        """Returns when the node is Ready, 3 to 6 s later. Raises GoMissing, LabError."""
        programs, dns = ensure()
        with ExitStack() as stack:
            stack.callback(self._end)
            self._configure()
            self._start_containerd(programs)
            self._start_the_rest(programs, dns)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends its processes. Pods go on until the space ends."""
        self._stack.close()

    def load(self, archive: Path) -> None:
        """Makes an image known, from an archive as `tests.lab.oci` or `docker save` write them."""
        self._ctr("images", "import", str(archive.resolve()))

    def images(self) -> Sequence[str]:
        """Their names."""
        return self._ctr("images", "list", "--quiet").split()

    def pods(self, namespace: str) -> Mapping[str, Any]:
        """The pods of a namespace, by name."""
        return {pod["metadata"]["name"]: pod for pod in self._api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]}

    def log(self, namespace: str, pod: str, container: str = "") -> str:
        """What a container of a pod has written until now; the only one's if it has no name here."""
        query = f"?container={container}" if container else ""
        answer = self._api.http.get(f"/api/v1/namespaces/{namespace}/pods/{pod}/log{query}")
        if not answer.is_success:
            raise LabError(f"the log of {namespace}/{pod}: {answer.status_code} {answer.text}")
        return answer.text

    def processes(self, command: str) -> Sequence[int]:
        """The pids of all processes in the node whose command line has that text, as numbers that `signal` takes."""
        lines = self._space.run("ps", "-eo", "pid=,args=").splitlines()
        return [int(line.split()[0]) for line in lines if command in line]

    def signal(self, pid: int, name: str) -> None:
        """Sends a signal, such as KILL, to a process of the node."""
        self._space.run("kill", "-s", name, str(pid))

    def is_ready(self) -> bool:
        """Whether the API server holds it for able to run pods."""
        path = f"/api/v1/nodes/{self.name}"
        if not self._api.exists(path):
            return False
        conditions = self._api.get(path).get("status", {}).get("conditions", [])
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    @property
    def _api(self) -> Api:
        return self._plane.api

    def _configure(self) -> None:
        authority, here = self._plane.ca, self._directory
        certificate, key = self._plane.certify("kubelet", [addresses.NODE, self.name])
        (here / "cni").mkdir()
        texts = {
            "containerd.toml": settings.containerd(here),
            "container.json": settings.container(self._space.run("ctr", "oci", "spec")),
            "cni/10-lab.conflist": settings.network(here),
            "kubelet.json": settings.kubelet(here, authority, certificate, key),
            "proxy.json": settings.proxy(self._plane.kubeconfig_for("system:kube-proxy")),
            "Corefile": settings.dns(self._plane.kubeconfig),
            "resolv.conf": f"nameserver {addresses.NODE}\n",
        }
        for name, text in texts.items():
            (here / name).write_text(text)

    def _start_containerd(self, programs: Path) -> None:
        self.containerd = self._run("containerd", "containerd", "--config", "containerd.toml")
        wait_for(self._containerd_answers, "containerd answers", _SECONDS)
        pause, archive = self._directory / "pause.layer", self._directory / "pause.tar"
        oci.layer(pause, {"pause": programs / "pause"})
        oci.write(archive, oci.Image(settings.PAUSE_IMAGE, [pause], {"Entrypoint": ["/pause"]}))
        self.load(archive)

    def _start_the_rest(self, programs: Path, dns: Path) -> None:
        kubeconfig = self._plane.kubeconfig_for(f"system:node:{self.name}", ["system:nodes"])
        who = (f"--kubeconfig={kubeconfig}", f"--hostname-override={self.name}", f"--node-ip={addresses.NODE}")
        where = (f"--root-dir={self._directory}/kubelet", f"--cert-dir={self._directory}/kubelet/pki")
        self.kubelet = self._run("kubelet", str(programs / "kubelet"), "--config=kubelet.json", *who, *where)
        self.proxy = self._run("kube-proxy", str(programs / "kube-proxy"), "--config=proxy.json")
        self.dns = self._run("coredns", str(dns / "coredns"), "-conf", "Corefile")
        wait_for(self._all_work, "the node is ready", _SECONDS)
        cgroups.favour()

    def _containerd_answers(self) -> bool:
        self.containerd.require_running()
        try:
            self._ctr("version")
        except LabError:
            return False
        return True

    def _all_work(self) -> bool:
        for process in self._processes:
            process.require_running()
        return self.is_ready()

    def _ctr(self, *arguments: str) -> str:
        return self._space.run("ctr", "--address", f"{self._directory}/containerd.sock", "--namespace", _IMPORT_NAMESPACE, *arguments)

    def _run(self, name: str, *command: str) -> Process:
        process = Process(name, self._space.argv(*command), self._directory, self._plane.logs / f"{name}.log")
        self._processes.append(process)
        process.start()
        return process

    def _end(self) -> None:
        end_all(self._processes)
