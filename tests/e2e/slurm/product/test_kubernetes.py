"""The whole way: an object on a real API server, a real operator with its hub, a real bridge on a login node, a real Slurm, a real Ray, and
an answer that comes back through the tunnel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.kubernetes.conftest import control_plane, namespace
from tests.e2e.kubernetes.operator.objects import Objects
from tests.e2e.kubernetes.operator.operators import Operator, Operators, operators
from tests.e2e.slurm.product.login import PATIENCE, PROGRAMS, Login
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.node.needs import PATH
from tests.lab.ports import free_port
from tests.lab.processes import Process

__all__ = ["control_plane", "namespace"]

pytestmark = pytest.mark.timeout(2400)
MATRIX = [sys.executable, "-m", "matrix_cli"]
MODEL = {"engine": {"dummy": {"tokensPerSecond": 1000, "seed": 1}}, "replicas": 1, "resources": {"cpu": "500m", "memory": "512Mi"}}


class Site:
    """An operator with a hub, and alice's bridge to it."""

    def __init__(self, plane: ControlPlane, namespace: str, directory: Path, crew: Operators, alice: Login) -> None:
        self._plane, self._namespace, self._directory, self._crew, self._alice = plane, namespace, directory, crew, alice
        self.objects = Objects(plane, namespace)
        self._port = free_port()
        self._host = alice.type("getent", "hosts", "outside").split()[0]
        self._prepare()

    def _prepare(self) -> None:
        """As an administrator does it, by the commands; the site gets the token and the authority."""
        made = subprocess.run([*MATRIX, "operator", "hub-token"], check=True, capture_output=True, text=True)
        digest = made.stderr.split("tokenSha256: ")[1].split()[0]
        tls = self._directory / "tls"
        subprocess.run([*MATRIX, "operator", "hub-certificate", str(tls), self._host], check=True)
        site = {"tokenSha256": digest, "namespaces": [self._namespace]}
        hub = {"bindAddress": self._host, "port": self._port, "certificate": str(tls / "tls.crt"), "key": str(tls / "tls.key")}
        settings = {"image": "example.org/matrix:1", "hub": hub | {"sites": {"fair": site}}}
        (self._directory / "operator.yaml").write_text(json.dumps(settings))
        for name, content in (("token", made.stdout.encode()), ("ca.crt", (tls / "ca.crt").read_bytes())):
            self._alice.type("sh", "-c", f"umask 077; cat > {self._alice.shared / name}", stdin=content.decode())

    def operator(self) -> Operator:
        options = ["--kubeconfig", str(self._plane.kubeconfig), "--config", str(self._directory / "operator.yaml"), "-n", self._namespace]
        ports = ["--lease-namespace", self._namespace, "--health-port", "0", "--metrics-port", "0"]
        started = self._crew.run([*MATRIX, "operator", "run", *options, *ports])
        started.leading()
        return started

    @contextmanager
    def bridge(self) -> Iterator[None]:
        """On the login node, as she runs it."""
        shared = self._alice.shared
        words = [
            "--hub",
            f"{self._host}:{self._port}",
            "--site",
            "fair",
            "--token-file",
            str(shared / "token"),
            "--ca",
            str(shared / "ca.crt"),
        ]
        command = ["/usr/bin/env", f"PATH={PROGRAMS}:{PATH}", "matrix", "bridge", "run", *words]
        argv = self._alice.lab.login.argv(*command, user=self._alice.user)
        process = Process("bridge", argv, self._directory, self._directory / "bridge.log")
        process.start()
        try:
            yield
            process.require_running()
        finally:
            process.kill()

    def wait(self, plural: str, name: str, status: str, type_: str = "Ready") -> None:
        wait_for(lambda: self.objects.condition(plural, name, type_).get("status") == status, f"{name} {type_}={status}", PATIENCE)

    def ask(self, model: str) -> str:
        """As a user beside the operator does."""
        environ = os.environ | {"KUBECONFIG": str(self._plane.kubeconfig)}
        argv = [*MATRIX, "--context", "kubernetes", "chat", "-n", self._namespace, model, "Hello"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env=environ)
        return done.stdout + done.stderr


@pytest.fixture
def site(control_plane: ControlPlane, namespace: str, tmp_path: Path, alice: Login) -> Iterator[Site]:
    with operators(tmp_path, control_plane, namespace) as crew:
        yield Site(control_plane, namespace, tmp_path, crew, alice)


def test_from_an_object_to_an_answer_over_a_bridge_that_is_killed(site: Site, alice: Login) -> None:
    site.operator()
    spec = {"backend": {"slurm": {"site": "fair"}}, "head": {"resources": {"cpu": 2, "memory": "3Gi"}}}
    site.objects.create("matrixclusters", "lab", spec)
    site.objects.create("modeldeployments", "parrot", {"clusterRef": {"name": "lab"}, **MODEL})
    with site.bridge():
        site.wait("matrixclusters", "lab", "True")
        site.wait("modeldeployments", "parrot", "True")
        assert "tokens/s" in site.ask("parrot")
        assert "connected since" in alice.matrix("bridge", "status")
        before = alice.queue()
    site.wait("matrixclusters", "lab", "Unknown", "BackendReachable")
    assert alice.queue() == before
    with site.bridge():
        site.wait("matrixclusters", "lab", "True")
        assert "tokens/s" in site.ask("parrot") and alice.queue() == before
        site.objects.delete("modeldeployments", "parrot")
        site.objects.delete("matrixclusters", "lab")
        wait_for(lambda: not site.objects.exists("matrixclusters", "lab"), "the cluster's end", PATIENCE)
        assert alice.queue() == []
