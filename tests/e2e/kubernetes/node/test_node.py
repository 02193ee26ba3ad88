"""The lab's node does what a node does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.api import wait_for
from tests.lab.node.node import Node
from tests.lab.provision import Cluster

SECONDS = 120.0
SERVER = ["python", "-m", "http.server", "8080", "--directory", "/usr/local/bin"]
CALL = """
import sys, time, urllib.request
def status(url, deadline):
    while True:
        try:
            return urllib.request.urlopen(url, timeout=10).status
        except OSError as error:  # proxy and DNS learn of a Service a moment after the API server
            if time.monotonic() > deadline:
                return error
            time.sleep(0.2)
for url in sys.argv[1:]:
    print(url, status(url, time.monotonic() + 20))
"""


@pytest.fixture(scope="module")
def node(pods_cluster: Cluster) -> Node:
    if pods_cluster.node is None:
        pytest.skip("this cluster's node is not the lab's")
    return pods_cluster.node


@pytest.fixture(scope="module")
def server(pods_cluster: Cluster, node: Node) -> Iterator[tuple[Cluster, str]]:
    """A namespace with a pod that serves HTTP, behind a Service with an address and one without."""
    with pods_cluster.namespace() as namespace:
        make(pods_cluster, namespace, "web", SERVER, readinessProbe={"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1})
        for name, more in (("service", {}), ("headless", {"clusterIP": "None"})):
            spec = {"selector": {"app": "web"}, "ports": [{"port": 8080}], **more}
            pods_cluster.api.create(f"/api/v1/namespaces/{namespace}/services", {"metadata": {"name": name}, "spec": spec})
        wait_for(lambda: is_ready(pods_cluster, namespace, "web"), "the pod is ready", SECONDS)
        yield pods_cluster, namespace


def make(cluster: Cluster, namespace: str, name: str, command: list[str], **more: Any) -> None:
    container = {"name": "only", "image": cluster.image, "command": command, **more}
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    cluster.api.create(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})


def pod(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
    return found


def is_ready(cluster: Cluster, namespace: str, name: str) -> bool:
    conditions = pod(cluster, namespace, name)["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def ended(cluster: Cluster, namespace: str, name: str) -> bool:
    return pod(cluster, namespace, name)["status"]["phase"] in ("Succeeded", "Failed")


def test_pods_reach_each_other_by_every_name(server: tuple[Cluster, str], node: Node) -> None:
    cluster, namespace = server
    address = pod(cluster, namespace, "web")["status"]["podIP"]
    names = (address, "service", "headless", f"service.{namespace}.svc.cluster.local", f"headless.{namespace}.svc.cluster.local")
    urls = [f"http://{name}:8080/" for name in names]
    make(cluster, namespace, "client", ["python", "-c", CALL, *urls])
    wait_for(lambda: ended(cluster, namespace, "client"), "the client has ended", SECONDS)
    assert node.log(namespace, "client").splitlines() == [f"{url} 200" for url in urls]


def test_pods_reach_the_api_server_as_their_account(server: tuple[Cluster, str], node: Node) -> None:
    cluster, namespace = server
    code = """
import ssl, pathlib, urllib.error, urllib.request
account = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
request = urllib.request.Request("https://kubernetes.default.svc/api/v1/pods")
request.add_header("Authorization", "Bearer " + (account / "token").read_text())
try:
    urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account / "ca.crt"), timeout=10)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
    make(cluster, namespace, "caller", ["python", "-c", code])
    wait_for(lambda: ended(cluster, namespace, "caller"), "the caller has ended", SECONDS)
    assert "403 {" in node.log(namespace, "caller")
    assert f"system:serviceaccount:{namespace}:default" in node.log(namespace, "caller")


def test_this_machine_reaches_pods_through_the_api_server(server: tuple[Cluster, str]) -> None:
    cluster, namespace = server
    for what in ("pods/web:8080", "services/service:8080", "services/headless:8080"):
        assert cluster.api.http.get(f"/api/v1/namespaces/{namespace}/{what}/proxy/").status_code == 200


def test_a_pod_that_takes_too_much_memory_is_ended(server: tuple[Cluster, str]) -> None:
    cluster, namespace = server
    make(cluster, namespace, "eater", ["python", "-c", "b'x' * (1 << 28)"], resources={"limits": {"memory": "64Mi"}})
    wait_for(lambda: ended(cluster, namespace, "eater"), "the eater has ended", SECONDS)
    state = pod(cluster, namespace, "eater")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)


def test_what_the_pods_run_as_is_not_root(server: tuple[Cluster, str], node: Node) -> None:
    cluster, namespace = server
    make(cluster, namespace, "who", ["python", "-c", "import os, pathlib; print(os.getuid(), pathlib.Path.home())"])
    wait_for(lambda: ended(cluster, namespace, "who"), "it has ended", SECONDS)
    assert node.log(namespace, "who").split() == ["1000", "/home/matrix"]


def test_the_image_has_what_the_dockerfile_promises(server: tuple[Cluster, str], node: Node) -> None:
    cluster, namespace = server
    code = "import shutil, matrix_operator, matrix_runtime, ray; print(*map(bool, map(shutil.which, ['matrix', 'ray', 'python', 'bash'])))"
    make(cluster, namespace, "has", ["python", "-c", code])
    wait_for(lambda: ended(cluster, namespace, "has"), "it has ended", SECONDS)
    assert node.log(namespace, "has").split() == ["True"] * 4
