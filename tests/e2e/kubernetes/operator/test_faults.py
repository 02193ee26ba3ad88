"""What befalls the objects, the cluster and the API server while an operator works."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.kubernetes.conftest import OUR_CRDS
from tests.e2e.kubernetes.kuberay.fake_reach import ray_of
from tests.e2e.kubernetes.operator.full_server import full_server
from tests.e2e.kubernetes.operator.objects import MERGE, Objects
from tests.e2e.kubernetes.operator.operators import Operator, Operators, stays
from tests.fakes.ray_server import FakeRay
from tests.lab.api import CRDS, wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import LabError
from tests.lab.kuberay.standin import InThread

pytestmark = pytest.mark.timeout(600)

SECONDS = 150.0
MANY = int(os.environ.get("MATRIX_TEST_MANY", "100"))
"""Clusters that are made and deleted at once; a thousand take some minutes."""
MANY_SECONDS = 200 + 0.4 * MANY
CLUSTER = {"workerGroups": [{"name": "cpu", "replicas": 1}]}
CRD = f"{CRDS}/matrixclusters.matrix.dev"
FINALIZER = "matrix.dev/teardown"


@pytest.fixture
def ray(kuberay: InThread) -> Iterator[FakeRay]:
    with ray_of(kuberay) as found:
        yield found


@pytest.fixture
def objects(control_plane: ControlPlane, namespace: str) -> Objects:
    return Objects(control_plane, namespace)


@pytest.fixture
def operator(crew: Operators, ray: FakeRay) -> Operator:
    return crew.start(ray=ray.url).leading()


def up(objects: Objects, name: str = "lab") -> None:
    objects.until_ready("matrixclusters", name)


def gone(objects: Objects, name: str = "lab") -> None:
    objects.until_gone("matrixclusters", name)
    assert objects.of_ours() == []


def test_killed_while_an_object_is_being_deleted(crew: Operators, ray: FakeRay, objects: Objects, kuberay: InThread) -> None:
    first = crew.start(ray=ray.url).leading()
    objects.create("matrixclusters", "lab", CLUSTER)
    up(objects)
    first.process.kill()
    objects.delete("matrixclusters", "lab")
    assert objects.exists("matrixclusters", "lab"), "its finalizer holds it"
    crew.start(ray=ray.url).leading()
    gone(objects)


def test_a_finalizer_that_a_dead_operator_has_left(crew: Operators, ray: FakeRay, objects: Objects) -> None:
    """Of a cluster that never came to be: nothing was made, and it goes all the same."""
    objects.create("matrixclusters", "lab", CLUSTER)
    objects.merge("matrixclusters", "lab", {"metadata": {"finalizers": [FINALIZER]}})
    objects.delete("matrixclusters", "lab")
    crew.start(ray=ray.url).leading()
    gone(objects)


def test_an_api_server_that_is_killed_and_comes_back(control_plane: ControlPlane, operator: Operator, objects: Objects) -> None:
    objects.create("matrixclusters", "before", CLUSTER)
    up(objects, "before")
    ray_cluster = objects.get("rayclusters", "before")["metadata"]["uid"]
    control_plane.api_server.kill()
    control_plane.api_server.start()
    control_plane.ready()
    objects.create("matrixclusters", "after", CLUSTER)
    up(objects, "after")
    up(objects, "before")
    assert objects.get("rayclusters", "before")["metadata"]["uid"] == ray_cluster
    objects.delete("matrixclusters", "before")
    objects.delete("matrixclusters", "after")
    wait_for(lambda: not objects.list("matrixclusters"), "both are gone", SECONDS)
    assert operator.process.running


def test_an_api_server_that_is_slow(control_plane: ControlPlane, operator: Operator, objects: Objects) -> None:
    """5 s for each answer, again and again: the lease is kept or paused, and nothing is made twice."""
    wait_for(lambda: operator.ready.status_code == 200, "it has read what there is: before that it would end", SECONDS)
    objects.create("matrixclusters", "lab", CLUSTER)
    for _ in range(3):
        control_plane.api_server.stop()
        assert stays(lambda: operator.live.status_code == 200, 5)
        control_plane.api_server.cont()
        assert stays(lambda: operator.process.running, 1)
    up(objects)
    assert len(objects.list("rayclusters")) == 1
    assert len(objects.list("pods")) == 2
    assert "Traceback" not in operator.log


def test_an_api_server_that_answers_with_errors(control_plane: ControlPlane, operator: Operator, objects: Objects) -> None:
    """Its own store is gone for 20 s: every call ends in 500, 503 or a time-out. Watches and lease come back by themselves."""
    objects.create("matrixclusters", "lab", CLUSTER)
    up(objects)
    control_plane.etcd.kill()
    assert stays(lambda: operator.live.status_code == 200, 20)
    control_plane.etcd.start()
    control_plane.ready()
    wait_for(lambda: _created(objects, "second"), "the API server takes objects again", SECONDS)
    up(objects, "second")
    up(objects)
    assert operator.process.running
    assert "Traceback" not in operator.log


def _created(objects: Objects, name: str) -> bool:
    """One that it could not answer for may be there all the same."""
    try:
        objects.create("matrixclusters", name, CLUSTER)
    except (LabError, httpx2.TransportError) as error:
        return "already exists" in str(error)
    return True


def test_somebody_who_edits_it_all_the_time(operator: Operator, objects: Objects) -> None:
    """Each of our writes meets another version (409): it comes up all the same, and what was edited stays."""
    over = threading.Event()

    def edit() -> None:
        for number in itertools.count():
            if over.wait(0.02):
                return
            objects.merge("matrixclusters", "lab", {"metadata": {"annotations": {"edited": str(number)}}})

    sizes = itertools.cycle((2, 1))

    def conflicted() -> bool:
        """Until then there is always something to write."""
        objects.merge("matrixclusters", "lab", {"spec": {"workerGroups": [{"name": "cpu", "replicas": next(sizes)}]}})
        return 'matrix_reconcile_total{kind="MatrixCluster",result="conflict"}' in operator._get("metrics", "/metrics").text

    objects.create("matrixclusters", "lab", CLUSTER)
    thread = threading.Thread(target=edit)
    thread.start()
    try:
        wait_for(conflicted, "a write of ours meets another version", SECONDS)
        up(objects)
    finally:
        over.set()
        thread.join()
    assert objects.get("matrixclusters", "lab")["metadata"]["annotations"]["edited"]


def test_a_namespace_that_is_deleted_with_everything_in_it(
    control_plane: ControlPlane, operator: Operator, objects: Objects, namespace: str
) -> None:
    """At once, with its lease: the operator's own objects are in it as well."""
    objects.create("matrixclusters", "lab", CLUSTER)
    objects.create("modeldeployments", "m", {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "model": {"source": "file:///m"}})
    up(objects)
    control_plane.api.delete(f"/api/v1/namespaces/{namespace}")
    wait_for(lambda: not control_plane.api.exists(f"/api/v1/namespaces/{namespace}"), "the namespace is gone", SECONDS)
    assert " bug " not in operator.log and "Traceback" not in operator.log
    control_plane.api.create_namespace(namespace)  # the fixture deletes it once more


def test_a_crd_that_changes_under_it(control_plane: ControlPlane, operator: Operator, objects: Objects) -> None:
    """Another version of the schema (as an upgrade applies it) interrupts nobody, and what is changed meanwhile is heard of."""
    objects.create("matrixclusters", "lab", CLUSTER)
    up(objects)
    versions = control_plane.api.get(CRD)["spec"]["versions"]
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["later"] = {"type": "string"}
    assert control_plane.api.http.patch(CRD, json={"spec": {"versions": versions}}, headers=MERGE).is_success
    try:
        groups = [{"name": "cpu", "replicas": 2}]
        generation = objects.merge("matrixclusters", "lab", {"spec": {"workerGroups": groups}})["metadata"]["generation"]
        wait_for(lambda: objects.get("matrixclusters", "lab")["status"].get("observedGeneration") == generation, "it is seen", SECONDS)
        wait_for(lambda: len(objects.list("pods")) == 3, "there is one worker more", SECONDS)
        assert operator.process.running
        objects.delete("matrixclusters", "lab")
        gone(objects)
    finally:
        control_plane.api.apply_crds(OUR_CRDS)


def test_an_object_from_before_a_change_of_the_schema(control_plane: ControlPlane, operator: Operator, objects: Objects) -> None:
    """It does not parse: it says so itself, the others live on, and it can be deleted."""
    versions = control_plane.api.get(CRD)["spec"]["versions"]
    loose = {**versions[0], "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    assert control_plane.api.http.patch(CRD, json={"spec": {"versions": [loose]}}, headers=MERGE).is_success
    try:
        wait_for(lambda: _accepts_anything(objects), "the loose schema is served", SECONDS)
        wait_for(lambda: objects.condition("matrixclusters", "odd").get("reason") == "InvalidSpec", "it is told", SECONDS)
    finally:
        control_plane.api.apply_crds(OUR_CRDS)
    objects.create("matrixclusters", "lab", CLUSTER)
    up(objects)
    objects.delete("matrixclusters", "odd")
    objects.delete("matrixclusters", "lab")
    wait_for(lambda: not objects.list("matrixclusters"), "both are gone", SECONDS)
    assert operator.process.running


def test_a_crd_that_is_deleted_under_it_and_comes_back(control_plane: ControlPlane, operator: Operator, objects: Objects) -> None:
    """Its objects go with it, and with them their clusters; the operator waits, says for what, and goes on."""
    objects.create("matrixclusters", "lab", CLUSTER)
    up(objects)
    control_plane.api.delete(CRD)
    try:
        wait_for(lambda: not control_plane.api.exists(CRD), "the CRD is gone: the finalizers were taken off", SECONDS)
        assert objects.of_ours() == []
        words = "the API server does not know MatrixCluster any more; install those of this version"
        wait_for(lambda: words in operator.ready.text, "it says so in its readiness", SECONDS)
        assert operator.ready.status_code == 503
        assert stays(lambda: operator.live.status_code == 200, 5)
        assert words in operator.log
    finally:
        control_plane.api.apply_crds(OUR_CRDS)
    wait_for(lambda: operator.ready.status_code == 200, "it is ready again", SECONDS)
    objects.create("matrixclusters", "again", CLUSTER)
    up(objects, "again")
    objects.delete("matrixclusters", "again")
    gone(objects, "again")
    assert operator.process.running
    assert "Traceback" not in operator.log


def test_an_api_server_that_turns_calls_away(
    control_plane: ControlPlane, crew: Operators, tmp_path: Path, ray: FakeRay, objects: Objects
) -> None:
    """429 with Retry-After to every new call, the lease's included: nobody acts meanwhile, and all goes on afterwards, once."""
    with full_server(control_plane.kubeconfig, tmp_path) as server:
        operator = crew.start(server.kubeconfig, ray=ray.url).leading()
        objects.create("matrixclusters", "before", CLUSTER)
        up(objects, "before")
        server.full.set()
        wait_for(lambda: server.turned_away > 5, "calls are turned away", SECONDS)
        objects.create("matrixclusters", "meanwhile", CLUSTER)
        assert stays(lambda: operator.live.status_code == 200, 15)
        assert not objects.exists("rayclusters", "meanwhile")
        server.full.clear()
        up(objects, "meanwhile")
        up(objects, "before")
        assert len(objects.list("rayclusters")) == 2
        assert len(objects.list("pods")) == 4
        assert operator.process.running
        assert "Traceback" not in operator.log


def _accepts_anything(objects: Objects) -> bool:
    odd: dict[str, Any] = {"workerGroups": "none", "nosuch": 1}
    try:
        objects.create("matrixclusters", "odd", odd)
    except LabError:
        return False
    return True


@pytest.mark.timeout(4 * MANY_SECONDS)
def test_many_at_once(operator: Operator, objects: Objects) -> None:
    """Made together and deleted together; each has a RayCluster, and nothing is left."""
    names = [f"c{number}" for number in range(MANY)]
    for name in names:
        objects.create("matrixclusters", name, {})
    wait_for(lambda: _ready(objects) == len(names), "all are ready", MANY_SECONDS, every=MANY / 1000)
    for name in names:
        objects.delete("matrixclusters", name)
    wait_for(lambda: not objects.list("matrixclusters"), "all are gone", MANY_SECONDS, every=MANY / 1000)
    assert objects.of_ours() == []
    assert operator.live.text == "ok\n"


def _ready(objects: Objects) -> int:
    found = [condition for item in objects.list("matrixclusters") for condition in item.get("status", {}).get("conditions", ())]
    return sum(condition["type"] == "Ready" and condition["status"] == "True" for condition in found)


def test_a_steady_world_is_not_written_to(operator: Operator, objects: Objects) -> None:
    objects.create("matrixclusters", "lab", CLUSTER)
    up(objects)
    wait_for(lambda: _unwritten(objects, 3), "the last news are written", SECONDS)
    assert _unwritten(objects, 10)


def _unwritten(objects: Objects, seconds: float) -> bool:
    """Whether nobody writes to it for so long."""
    version = objects.get("matrixclusters", "lab")["metadata"]["resourceVersion"]
    return stays(lambda: objects.get("matrixclusters", "lab")["metadata"]["resourceVersion"] == version, seconds)
