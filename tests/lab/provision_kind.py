"""`kind`: Kubernetes in Docker containers, with KubeRay from its Helm chart and the image that the Dockerfile makes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.api import Api
from tests.lab.errors import LabError, NodeMissing
from tests.lab.image import name as image_name
from tests.lab.provision import OUR_CRDS, ROOT, Cluster

KUBERAY_CHARTS = "https://ray-project.github.io/kuberay-helm/"
KUBERAY_VERSION = "1.7.0"
_PROGRAMS = ("docker", "kind", "helm")
_WORKERS = 2
_MINUTES = 60
"""For one command; building the image is the longest."""


def config() -> str:
    """Of the cluster: machines beside that of the control plane, so that pods have somewhere to go when one is drained."""
    machines = ["control-plane", *["worker"] * _WORKERS]
    return "\n".join(["kind: Cluster", "apiVersion: kind.x-k8s.io/v1alpha4", "nodes:", *(f"- role: {role}" for role in machines), ""])


@dataclass(frozen=True)
class Kind:
    """A cluster of this process's own. A process that is killed leaves it: `kind get clusters`, `kind delete cluster --name NAME`."""

    runs_pods: bool = True

    def prepare(self, tell: Callable[[str], object]) -> None:
        """Builds the image. Raises NodeMissing when there is no Docker, no kind or no Helm, LabError."""
        missing = [program for program in _PROGRAMS if shutil.which(program) is None]
        if missing:
            raise NodeMissing(f"--cluster=kind needs {', '.join(missing)} on the PATH")
        tell(f"building {image_name()} with Docker: minutes, unless its layers are cached")
        _run("docker", "build", "--build-arg", "VARIANT=cpu", "--tag", image_name(), str(ROOT))

    @contextmanager
    def cluster(self, directory: Path) -> Iterator[Cluster]:
        """Such a cluster until the end of the block, with our kinds, KubeRay and the image."""
        name, kubeconfig, settings = f"matrix-test-{os.getpid()}", directory / "kubeconfig", directory / "kind.yaml"
        settings.write_text(config())
        which = ("--name", name, "--kubeconfig", str(kubeconfig))
        try:
            _run("kind", "create", "cluster", *which, "--config", str(settings), "--wait", "3m")
            _run("kind", "load", "docker-image", image_name(), "--name", name)
            _install_kuberay(kubeconfig)
            api = Api.of_kubeconfig(kubeconfig)
            try:
                api.apply_crds(OUR_CRDS)
                yield Cluster(kubeconfig, api, image_name(), "real")
            finally:
                api.close()
        finally:
            _run("kind", "delete", "cluster", *which)


def _install_kuberay(kubeconfig: Path) -> None:
    """Returns when its operator is ready."""
    chart = ("kuberay-operator", "kuberay-operator", "--repo", KUBERAY_CHARTS, "--version", KUBERAY_VERSION)
    where = ("--kubeconfig", str(kubeconfig), "--namespace", "kuberay-system", "--create-namespace")
    _run("helm", "install", *chart, *where, "--wait", "--timeout", "5m")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MINUTES * 60, check=False)
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(command)}` did not end within {_MINUTES} minutes") from None
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
