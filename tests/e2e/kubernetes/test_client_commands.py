"""What reaches into a cluster from the command line: env, port-forward, logs, keys, doctor; and that one namespace's rights are enough."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from matrix_cli.exits import Exit
from tests.e2e.kubernetes.test_client_requests import HEAD, Place
from tests.e2e.kubernetes.test_context import QUICKSTART, Cli
from tests.fakes.kubelet import FakeKubelet, kubelet
from tests.lab.control_plane import ControlPlane

SECONDS = 120.0
USER = "ben"
EVERYTHING = ["get", "list", "watch", "create", "patch", "delete"]
RULES = (
    {"apiGroups": ["matrix.dev"], "resources": ["matrixclusters", "modeldeployments"], "verbs": EVERYTHING},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
)


@pytest.fixture(scope="module")
def node(control_plane: ControlPlane) -> Iterator[FakeKubelet]:
    with kubelet(control_plane, "commands") as fake:
        yield fake


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Place:
    return Place(control_plane, namespace)


@pytest.fixture
def matrix(place: Place, tmp_path: Path) -> Cli:
    return Cli(place.plane.kubeconfig, place.namespace, tmp_path / "home")


@contextmanager
def page(text: bytes) -> Iterator[int]:
    """An HTTP server that always says the same; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def started(place: Place, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command while it runs."""
    argv = [sys.executable, "-m", "matrix_cli", words[0], "--context", "kubernetes", "-n", place.namespace, *words[1:]]
    environ = os.environ | {"KUBECONFIG": str(place.plane.kubeconfig), "NO_COLOR": "1"}
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        watchdog = threading.Timer(SECONDS, running.kill)
        watchdog.start()
        try:
            yield running
        finally:
            watchdog.cancel()
            running.kill()


def line(running: subprocess.Popen[str]) -> str:
    """The next one that it prints."""
    assert running.stdout is not None
    return running.stdout.readline().strip()


@contextmanager
def port_forward(place: Place, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command while it runs, and the address that it printed."""
    with started(place, "port-forward", *words) as running:
        yield running, line(running)


def get(url: str) -> bytes:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=SECONDS) as answer:
        return bytes(answer.read())


def test_port_forward_prints_the_address_until_it_is_told_to_end(place: Place, node: FakeKubelet) -> None:
    place.service()
    with page(b"models") as port:
        node.add(place.namespace, "lab-head-1", HEAD, {8470: port})
        with port_forward(place, "chat", "0:openai") as (running, url):
            assert url.startswith("http://127.0.0.1:") and url.endswith("/v1")
            assert [get(f"{url}/models") for _ in range(3)] == [b"models"] * 3
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=SECONDS)
    assert running.returncode == 0
    assert "pod lab-head-1" in told
    assert f"matrix --context kubernetes -n {place.namespace} env MatrixCluster/{place.namespace}/lab --local-port" in told


def test_a_port_that_is_taken_and_an_endpoint_that_there_is_not_are_said(matrix: Cli, place: Place) -> None:
    with page(b"") as port:
        assert "`0:openai` takes a free one" in matrix("port-forward", "chat", f"{port}:openai", code=2)
    assert "there is openai, grpc" in matrix("port-forward", "chat", "shell", code=2)
    assert "no Service lab-gateway" in matrix("port-forward", "chat", "0:openai", code=5)


def test_env_names_the_port_that_port_forward_opens(matrix: Cli, place: Place) -> None:
    place.secret("lab-client-token", token="secret")
    inside = f"http://lab-gateway.{place.namespace}.svc:8470/v1"
    assert matrix("env", "chat").splitlines() == [
        "export OPENAI_BASE_URL=http://127.0.0.1:8470/v1",
        "export OPENAI_API_KEY=secret",
    ]
    assert json.loads(matrix("env", "chat", "--local-port", "9000", "-o", "json"))["OPENAI_BASE_URL"] == "http://127.0.0.1:9000/v1"
    assert json.loads(matrix("env", "chat", "--inside", "-o", "json"))["OPENAI_BASE_URL"] == inside


def test_keys_are_issued_listed_and_revoked(matrix: Cli) -> None:
    issued = json.loads(matrix("keys", "issue", "--name", "ann", "-o", "json"))
    assert issued["key"].startswith("mxk-")
    assert [key["name"] for key in json.loads(matrix("keys", "list", "-o", "json"))] == ["ann"]
    matrix("keys", "revoke", issued["id"])
    assert json.loads(matrix("keys", "list", "-o", "json")) == []


def test_logs_are_those_of_containers_and_of_files_inside(matrix: Cli, place: Place, node: FakeKubelet) -> None:
    node.add(place.namespace, "lab-head-1", HEAD | {"matrix.dev/uid": place.uid})
    node.outputs["lab-head-1"] = ["started", "runs"]
    files = {
        "serve/replica_mx-md-chat_Replica_abc.log": ["one", "", "two"],
        "worker-1f-01000000-102.out": ["printed"],
    }
    node.files["lab-head-1"] = files
    listed = [line.split("  ")[0] for line in matrix("logs", "--list", "mxd/chat").splitlines()]
    assert listed == ["replica/abc", "output/102"]
    shown = ["[replica/abc] one", "[replica/abc] ", "[replica/abc] two", "[output/102] printed"]
    assert matrix("logs", "mxd/chat").splitlines() == shown
    assert matrix("logs", "mxd/chat", "-c", "output", "--tail", "1").splitlines() == ["printed"]
    assert matrix("logs", "mxc/lab", "-c", "head-1", "--tail", "1").splitlines() == ["runs"]
    assert "mx-md-chat" in node.commands[0]
    assert "has no component 'gpu'; there is replica/abc, output/102" in matrix("logs", "mxd/chat", "-c", "gpu", code=2)


def test_the_output_of_a_container_that_ended_is_followed_on_without_a_line_twice(place: Place, node: FakeKubelet) -> None:
    node.add(place.namespace, "lab-head-1", HEAD | {"matrix.dev/uid": place.uid})
    node.outputs["lab-head-1"] = ["skipped", "started"]
    with started(place, "logs", "mxc/lab", "--follow", "--tail", "1") as running:
        assert line(running) == "started"
        for text in ("one", "two"):
            node.outputs["lab-head-1"].append(text)
            assert line(running) == text
        running.send_signal(signal.SIGINT)
        assert [text.strip() for text in running.communicate(timeout=SECONDS)] == ["", ""]
    assert running.returncode == Exit.INTERRUPTED


def test_doctor_says_what_is_missing_in_the_cluster(matrix: Cli, place: Place, tmp_path: Path) -> None:
    text = matrix("doctor", code=1)
    assert "no operator is installed" in text and "installed, and as this version writes them" in text
    place.allow(USER, *RULES)
    limited = Cli(place.plane.kubeconfig_for(USER), place.namespace, tmp_path / "home")
    findings = {finding["subject"]: finding for finding in json.loads(limited("doctor", "-o", "json"))}
    assert findings["operator"]["state"] == "warning" and findings["changes"]["state"] == "ok"
    assert findings["tokens"]["remedy"] == "ask the cluster's administrator for: get secrets"


def test_the_rights_of_one_namespace_are_enough(place: Place, tmp_path: Path) -> None:
    place.allow(USER, *RULES)
    matrix = Cli(place.plane.kubeconfig_for(USER), place.namespace, tmp_path / "home")
    matrix("apply", QUICKSTART)
    assert "mxc/lab" in matrix("get")
    assert matrix("wait", "mxc/lab", "--timeout", "30s") == ""
    assert "ModelDeployment" in matrix("wait", "mxd/smollm2", "--timeout", "1s", code=4)
    matrix("events")
    matrix("describe", "mxd/smollm2")
    matrix("scale", "mxd/smollm2", "--replicas", "2")
    matrix("delete", "mxd/smollm2")
    told = matrix("down", QUICKSTART).splitlines()  # the cluster, though its models are gone
    assert told[0] == f"ModelDeployment/{place.namespace}/smollm2 was not there" and told[1].startswith("removed in ")
    assert "does not exist" in matrix("get", "mxc/quickstart", code=3)
    assert "did you mean" in matrix("get", "mxd/caht", code=3)
    assert "`get` on secrets" in matrix("chat", "chat", "hello", code=1)
    assert "with `list` on pods" in matrix("logs", "mxd/chat", code=1)
