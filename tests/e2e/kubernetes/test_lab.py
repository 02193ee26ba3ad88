"""The control plane itself does what the other tests rely on, also after faults, and leaves nothing."""

from __future__ import annotations

import base64
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import yaml

from tests.lab import build
from tests.lab.api import CRDS, Api, wait_for
from tests.lab.commands import LOOPBACK
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import LabError
from tests.lab.ports import free_port
from tests.lab.processes import Process

ROOT = Path(__file__).parents[3]
OURS = ("matrixclusters", "modeldeployments")
DEADLINE = 120.0


def clusters(namespace: str) -> str:
    return f"/apis/matrix.dev/v1alpha1/namespaces/{namespace}/matrixclusters"


def config_maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def cluster(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "matrix.dev/v1alpha1",
        "kind": "MatrixCluster",
        "metadata": {"name": name},
        "spec": {"head": {"resources": {"cpu": "1", "memory": "1Gi"}}},
    }


def config_map(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "1"}}


def processor_seconds(process: Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def processes_in(directory: Path) -> list[int]:
    """Of every process that runs there."""
    return [process.pid for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(directory)]


def test_it_is_ready_and_of_the_version_that_is_pinned(control_plane: ControlPlane) -> None:
    control_plane.ready(DEADLINE)
    assert control_plane.api.get("/version")["gitVersion"] == build.kubernetes_version()


@pytest.mark.parametrize("plural", OURS)
def test_our_kinds_are_served(control_plane: ControlPlane, plural: str) -> None:
    assert control_plane.api.serves(f"{plural}.matrix.dev")


def test_applying_the_crds_again_changes_nothing(control_plane: ControlPlane) -> None:
    def generations() -> list[int]:
        return [control_plane.api.get(f"{CRDS}/{plural}.matrix.dev")["metadata"]["generation"] for plural in OURS]

    before = generations()
    control_plane.api.apply_crds(sorted((ROOT / "crds").glob("*.yaml")))
    assert generations() == before


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_is_accepted(control_plane: ControlPlane, namespace: str, example: Path) -> None:
    manifests = list(yaml.safe_load_all(example.read_text()))
    assert manifests
    for manifest in manifests:
        plural = f"{manifest['kind'].lower()}s"
        path = f"/apis/{manifest['apiVersion']}/namespaces/{namespace}/{plural}"
        control_plane.api.create(path, manifest)


def test_a_nonsense_is_refused_with_the_servers_words(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(LabError, match=r"422 .*spec\.head"):
        control_plane.api.create(clusters(namespace), {**cluster("bad"), "spec": {"head": "large"}})


def test_what_an_object_of_ours_owns_is_collected(control_plane: ControlPlane, namespace: str) -> None:
    api = control_plane.api
    owner = api.create(clusters(namespace), cluster("owner"))
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": "owner", "uid": owner["metadata"]["uid"]}
    api.create(config_maps(namespace), config_map("owned", ownerReferences=[reference]))
    api.create(config_maps(namespace), config_map("free"))
    assert api.exists(f"{config_maps(namespace)}/owned")
    api.delete(f"{clusters(namespace)}/owner")
    begun = time.monotonic()
    # A controller manager whose API server was away a moment ago takes a minute.
    wait_for(lambda: not api.exists(f"{config_maps(namespace)}/owned"), "the owned object is collected", DEADLINE)
    print(f"\ncollected after {time.monotonic() - begun:.2f} s")
    assert api.exists(f"{config_maps(namespace)}/free")


def test_a_user_without_a_role_is_forbidden_until_one_is_bound(control_plane: ControlPlane, namespace: str) -> None:
    stranger, member = control_plane.api_for("stranger"), control_plane.api_for("member", ["readers"])
    for user in (stranger, member):
        with pytest.raises(LabError, match="403"):
            user.get(clusters(namespace))
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": ["matrix.dev"], "resources": ["matrixclusters"], "verbs": ["list"]}
    control_plane.api.create(f"{roles}/roles", {"metadata": {"name": "reader"}, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}
    control_plane.api.create(f"{roles}/rolebindings", {"metadata": {"name": "reader"}, "roleRef": role, "subjects": [subject]})
    wait_for(lambda: member.http.get(clusters(namespace)).status_code == 200, "the role is known", DEADLINE)
    assert stranger.http.get(clusters(namespace)).status_code == 403


@pytest.mark.parametrize(("user", "groups"), [("system:serviceaccount:a:b", []), ("someone", ["x", "y/z"])])
def test_a_kubeconfig_is_whole_and_is_that_user(control_plane: ControlPlane, tmp_path: Path, user: str, groups: list[str]) -> None:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    api = client_of(control_plane.kubeconfig_for(user, groups), tmp_path)
    answer = api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]
    api.close()
    assert (answer["username"], answer["groups"]) == (user, [*groups, "system:authenticated"])


def client_of(kubeconfig: Path, scratch: Path) -> Api:
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    data = (cluster["certificate-authority-data"], user["client-certificate-data"], user["client-key-data"])
    files = [scratch / name for name in ("ca", "certificate", "key")]
    for file, content in zip(files, data, strict=True):
        file.write_bytes(base64.b64decode(content))
    return Api.with_certificate(cluster["server"], *files)


@pytest.mark.parametrize("victim", ["api_server", "etcd"])
def test_a_killed_part_comes_back_at_its_place_with_its_data(control_plane: ControlPlane, namespace: str, victim: str) -> None:
    part: Process = getattr(control_plane, victim)
    made = control_plane.api.create(clusters(namespace), cluster("kept"))
    old = part.pid
    part.kill()
    assert not part.running
    with pytest.raises(LabError, match="ended with status -9"):
        control_plane.ready(DEADLINE)
    part.start()
    control_plane.ready(DEADLINE)
    assert part.pid != old
    kept = control_plane.api.get(f"{clusters(namespace)}/kept")
    assert kept["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_stopped_api_server_answers_nothing_and_then_everything(control_plane: ControlPlane) -> None:
    control_plane.api_server.stop()
    try:
        with pytest.raises(httpx2.TimeoutException):
            control_plane.api.http.get("/readyz", timeout=1)
        assert control_plane.api_server.running
    finally:
        control_plane.api_server.cont()
    control_plane.ready(DEADLINE)


def test_what_a_test_has_stopped_or_killed_can_be_put_right(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.api_server.stop()
    control_plane.etcd.kill()
    control_plane.restore()
    control_plane.api.create(clusters(namespace), cluster("new"))


def test_a_second_one_runs_beside_it_finds_another_port_and_leaves_nothing(control_plane: ControlPlane, tmp_path: Path) -> None:
    directory = tmp_path / "second"
    with closing(socket.create_server((LOOPBACK, 0))) as taken:
        ports = iter([taken.getsockname()[1], free_port()])
        begun = time.monotonic()
        with ControlPlane(directory, choose_port=lambda: next(ports)) as second:
            up = time.monotonic() - begun
            assert (second.scheduler, second.url == control_plane.url) == (None, False)
            # Processor time, which other processes on the machine do not lengthen: nothing is built anew.
            assert sum(map(processor_seconds, second.processes)) < 10
            second.api.create(config_maps("default"), config_map("here"))
            assert not control_plane.api.exists(f"{config_maps('default')}/here")
            second.api_server.stop()  # the worst to end
            assert len(processes_in(directory)) == 3
            begun = time.monotonic()
        print(f"\nup after {up:.1f} s, down after {time.monotonic() - begun:.1f} s")
    assert processes_in(directory) == []
    assert not directory.exists()
    control_plane.ready(DEADLINE)


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("metadata: {name: nonsense.matrix.dev}\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec: {}\n")
    with pytest.raises(LabError, match=r"nonsense\.matrix\.dev.*422.*spec\.group"), ControlPlane(tmp_path / "plane", crds=[bad]):
        pytest.fail("it started")
    assert processes_in(tmp_path / "plane") == []
    assert list(tmp_path.iterdir()) == [bad]


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(LabError, match="is not empty"), ControlPlane(tmp_path):
        pytest.fail("it started")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
