"""`matrix operator run` itself: how it begins, and what it says when it can't."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.kubernetes.operator.objects import MERGE, SECONDS, Objects
from tests.e2e.kubernetes.operator.operators import END_SECONDS, Operator, Operators
from tests.lab.api import CRDS, wait_for
from tests.lab.control_plane import ControlPlane

pytestmark = pytest.mark.timeout(400)

MATRIX = str(Path(sys.executable).with_name("matrix"))


def run(crew: Operators, kubeconfig: Path, *options: str) -> Operator:
    ports = ["--health-port", "0", "--metrics-port", "0"]
    place = ["--kubeconfig", str(kubeconfig), "--namespace", crew.namespace, "--lease-namespace", crew.namespace]
    return crew.run([MATRIX, "operator", "run", *place, *ports, *options])


def test_the_command_runs_until_it_is_told_to_stop(control_plane: ControlPlane, crew: Operators, tmp_path: Path) -> None:
    """With the real way to Ray, through the API server: it makes the RayCluster that the file of settings describes."""
    (tmp_path / "site.yaml").write_text("image: example.org/site:1\nrunAsUser: 4242\n")
    objects = Objects(control_plane, crew.namespace)
    objects.create("matrixclusters", "lab", {})
    operator = run(crew, control_plane.kubeconfig, "--config", str(tmp_path / "site.yaml"), "--image", "example.org/option:2").leading()
    wait_for(lambda: objects.exists("rayclusters", "lab"), "there is a RayCluster", SECONDS)
    head = objects.get("rayclusters", "lab")["spec"]["headGroupSpec"]["template"]["spec"]
    assert {container["image"] for container in head["containers"] if container["name"] == "ray-head"} == {"example.org/option:2"}
    assert head["securityContext"]["runAsUser"] == 4242
    operator.process.terminate()
    assert operator.ends(END_SECONDS) == 0
    assert objects.get("leases", "matrix-operator")["spec"]["holderIdentity"] == ""


def test_an_api_server_that_does_not_answer_yet_is_waited_for(control_plane: ControlPlane, crew: Operators) -> None:
    control_plane.api_server.kill()
    try:
        operator = run(crew, control_plane.kubeconfig, "--image", "x")
        operator.until(r"waiting for the API server, for another \d+ s at most: .* can't be reached")
        assert operator.live.status_code == 200
        assert (operator.ready.status_code, operator.ready.text.splitlines()[0]) == (503, "not all objects have been read")
    finally:
        control_plane.api_server.start()
        control_plane.ready()
    operator.leading()


def test_credentials_that_are_none_are_told_at_once(control_plane: ControlPlane, crew: Operators, tmp_path: Path) -> None:
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "nonsense"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    operator = run(crew, tmp_path / "kubeconfig", "--image", "x")
    assert operator.ends(END_SECONDS) == 5
    assert "does not know who is calling" in operator.log.splitlines()[-1]


def test_a_cluster_without_our_kinds_is_told_at_once(control_plane: ControlPlane, crew: Operators) -> None:
    name = "modeldeployments.matrix.dev"
    versions = control_plane.api.get(f"{CRDS}/{name}")["spec"]["versions"]

    def serve(*, served: bool) -> None:
        change = {"spec": {"versions": [{**version, "served": served} for version in versions]}}
        control_plane.api.http.patch(f"{CRDS}/{name}", json=change, headers=MERGE).raise_for_status()

    def named() -> bool:
        return any(kind["kind"] == "ModelDeployment" for kind in control_plane.api.get("/apis/matrix.dev/v1alpha1")["resources"])

    serve(served=False)
    try:
        wait_for(lambda: not named(), "the kind is not served any more", SECONDS)
        operator = run(crew, control_plane.kubeconfig, "--image", "x")
        assert operator.ends(END_SECONDS) == 5
    finally:
        serve(served=True)
        wait_for(lambda: control_plane.api.serves(name) and named(), "the kind is served again", SECONDS)
    last = operator.log.splitlines()[-1]
    assert "does not know ModelDeployment" in last and "kubectl apply --server-side -f crds/" in last
