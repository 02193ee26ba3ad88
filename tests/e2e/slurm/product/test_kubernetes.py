"""The whole way: an object on a real API server, a real operator with its hub, a real bridge on a login node, a real Slurm, a real Ray, and
an answer that comes back through the tunnel. What a user types is typed as docs/slurm.md has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.e2e.kubernetes.conftest import control_plane, namespace
from tests.e2e.kubernetes.operator.objects import Objects
from tests.e2e.kubernetes.operator.operators import Operator, Operators, operators
from tests.e2e.page import ROOT, Terminal, blocks
from tests.e2e.slurm.product.login import PATIENCE, Login, LoginTerminal
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.processes import Process

__all__ = ["control_plane", "namespace"]

pytestmark = pytest.mark.timeout(2400)
MATRIX = [sys.executable, "-m", "matrix_cli"]
AT_THE_SITE, IN_KUBERNETES, AT_THE_END = blocks(ROOT / "docs" / "slurm.md", "From Kubernetes")
BRIDGE = "matrix bridge run"
HUB, PORT = "matrix.example.org", 8474
"""As the page names it."""
CONFIGURATION = ".config/matrix"


class Site:
    """An operator with a hub, and alice's bridge to it."""

    def __init__(self, plane: ControlPlane, namespace: str, directory: Path, crew: Operators, alice: Login) -> None:
        self._plane, self._namespace, self._directory, self._crew, self._alice = plane, namespace, directory, crew, alice
        self.objects = Objects(plane, namespace)
        self._prepare()

    def _prepare(self) -> None:
        """As an administrator does it, by the commands; the site gets the token and the authority."""
        address = self._alice.type("getent", "hosts", HUB).split()[0]
        made = subprocess.run([*MATRIX, "operator", "hub-token"], check=True, capture_output=True, text=True)
        digest = made.stderr.split("tokenSha256: ")[1].split()[0]
        tls = self._directory / "tls"
        subprocess.run([*MATRIX, "operator", "hub-certificate", str(tls), HUB], check=True)
        site = {"tokenSha256": digest, "namespaces": [self._namespace]}
        hub = {"bindAddress": address, "port": PORT, "certificate": str(tls / "tls.crt"), "key": str(tls / "tls.key")}
        settings = {"image": "example.org/matrix:1", "hub": hub | {"sites": {"fair": site}}}
        (self._directory / "operator.yaml").write_text(json.dumps(settings))
        for name, content in (("token", made.stdout), ("hub.crt", (tls / "ca.crt").read_text())):
            self._alice.type("sh", "-c", f"cat > ~/{CONFIGURATION}/{name}", stdin=content)

    def operator(self) -> Operator:
        options = ["--kubeconfig", str(self._plane.kubeconfig), "--config", str(self._directory / "operator.yaml"), "-n", self._namespace]
        ports = ["--lease-namespace", self._namespace, "--health-port", "0", "--metrics-port", "0"]
        started = self._crew.run([*MATRIX, "operator", "run", *options, *ports])
        started.leading()
        return started

    @contextmanager
    def bridge(self) -> Iterator[None]:
        """On the login node, as the page says."""
        terminal = LoginTerminal(self._alice, keeps=lambda line: not line.startswith(BRIDGE))
        terminal.must_run(AT_THE_SITE)
        terminal.close()
        [line] = [line for line in AT_THE_SITE.text.splitlines() if line.startswith(BRIDGE)]
        told = [f"{name}={value}" for name, value in self._alice.environment.items()]
        argv = self._alice.place.argv("/usr/bin/env", *told, "bash", "-c", f"exec {line}", user=self._alice.user)
        process = Process("bridge", argv, self._directory, self._directory / "bridge.log")
        process.start()
        try:
            yield
            process.require_running()
        finally:
            process.kill()

    def wait(self, plural: str, name: str, status: str, type_: str = "Ready") -> None:
        wait_for(lambda: self.objects.condition(plural, name, type_).get("status") == status, f"{name} {type_}={status}", PATIENCE)

    @contextmanager
    def user(self) -> Iterator[Terminal]:
        """Somebody whose kubeconfig leads to the namespace."""
        home = self._directory / "user"
        home.mkdir()
        config = yaml.safe_load(self._plane.kubeconfig.read_text())
        for context in config["contexts"]:
            context["context"]["namespace"] = self._namespace
        (home / "kubeconfig").write_text(yaml.safe_dump(config))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        typed = Terminal({"HOME": str(home), "PATH": path, "KUBECONFIG": str(home / "kubeconfig")}, home)
        yield typed
        typed.close()


@pytest.fixture
def site(control_plane: ControlPlane, namespace: str, tmp_path: Path, alice: Login) -> Iterator[Site]:
    with operators(tmp_path, control_plane, namespace) as crew:
        yield Site(control_plane, namespace, tmp_path, crew, alice)


def test_from_an_object_to_an_answer_over_a_bridge_that_is_killed(site: Site, alice: Login) -> None:
    site.operator()
    with site.user() as user:
        with site.bridge():
            assert "tokens/s" in user.must_run(IN_KUBERNETES)
            assert "connected since" in alice.matrix("bridge", "status")
            before = alice.queue()
        site.wait("matrixclusters", "lab", "Unknown", "BackendReachable")
        assert alice.queue() == before
        with site.bridge():
            site.wait("matrixclusters", "lab", "True")
            site.wait("modeldeployments", "parrot", "True")
            assert "tokens/s" in user.must_run(IN_KUBERNETES) and alice.queue() == before
            user.must_run(AT_THE_END)
            assert not site.objects.exists("matrixclusters", "lab") and alice.queue() == []
