"""`matrix operator retire`, under the rights that the chart gives its Job: clusters stay and can be deleted, or go; or nothing happens."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from matrix_crds.constants import FINALIZER
from matrix_crds.on_kubernetes import OPERATOR
from matrix_operator.rbac import chart
from tests.e2e.kubernetes.kuberay.fake_reach import ray_of
from tests.e2e.kubernetes.operator.objects import SECONDS, Objects
from tests.e2e.kubernetes.operator.operators import END_SECONDS, Operator, Operators
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.kuberay.standin import InThread

pytestmark = pytest.mark.timeout(500)

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
MATRIX = str(Path(sys.executable).with_name("matrix"))


class Site:
    """A namespace with an operator's Deployment, and an account that may retire it."""

    def __init__(self, plane: ControlPlane, crew: Operators, choice: str) -> None:
        self.crew = crew
        self.plane = plane
        self.choice = choice
        self.objects = Objects(plane, crew.namespace)
        self._deployment = f"/apis/apps/v1/namespaces/{crew.namespace}/deployments/{OPERATOR}"
        self.user = f"retirement-{crew.namespace}"
        self._deploy()
        self._allow()

    def _deploy(self) -> None:
        labels = {"app": "operator"}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "never-run"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": pod}
        self.plane.api.create(self._deployment.rpartition("/")[0], {"metadata": {"name": OPERATOR}, "spec": spec})

    def _allow(self) -> None:
        within = f"{RBAC}/{self.crew.namespace}"
        rules = [*chart()["retirement"], *chart()[self.choice]]
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "retirement"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.user}
        self.plane.api.create(f"{within}/roles", {"metadata": {"name": "retirement"}, "rules": rules})
        binding = {"metadata": {"name": "retirement"}, "roleRef": reference, "subjects": [subject]}
        self.plane.api.create(f"{within}/rolebindings", binding)

    def retire(self, seconds: int = 120) -> Operator:
        where = ["--kubeconfig", str(self.plane.kubeconfig_for(self.user)), "--operator-namespace", self.crew.namespace]
        what = ["--clusters", self.choice, "--timeout", f"{seconds}s", "-n", self.crew.namespace]
        return self.crew.run([MATRIX, "operator", "retire", *where, *what])

    @property
    def replicas(self) -> int:
        return int(self.plane.api.get(self._deployment)["spec"]["replicas"])

    def finalizers(self, name: str) -> list[str]:
        found: list[str] = self.objects.get("matrixclusters", name)["metadata"].get("finalizers", [])
        return found

    def until_scaled_down(self) -> None:
        wait_for(lambda: self.replicas == 0, "the operator is scaled down", SECONDS)


def test_clusters_that_are_kept_run_on_and_go_without_an_operator(control_plane: ControlPlane, kuberay: InThread, crew: Operators) -> None:
    site = Site(control_plane, crew, "keep")
    with ray_of(kuberay) as ray:
        operator = crew.start(ray=ray.url).leading()
        site.objects.create("matrixclusters", "lab", {})
        site.objects.create("matrixclusters", "orphan", {"deletionPolicy": "Orphan"})
        for name in ("lab", "orphan"):
            site.objects.until_ready("matrixclusters", name)
        made = site.objects.of_ours()
        retirement = site.retire()
        site.until_scaled_down()
        assert site.finalizers("lab") == [FINALIZER], "an operator is there that would put it back"
        operator.process.terminate()
        assert operator.ends(END_SECONDS) == 0
        assert retirement.ends(END_SECONDS) == 0, retirement.log
        assert site.replicas == 0
        assert (site.finalizers("lab"), site.finalizers("orphan")) == ([], [])
        assert site.objects.of_ours() == made
        for name in ("lab", "orphan"):
            site.objects.delete("matrixclusters", name)
            assert not site.objects.exists("matrixclusters", name)
        wait_for(lambda: not site.objects.exists("rayclusters", "lab"), "the garbage collector deletes the RayCluster", SECONDS)
        assert site.objects.exists("rayclusters", "orphan")


def test_clusters_are_deleted_under_the_eyes_of_the_operator(control_plane: ControlPlane, kuberay: InThread, crew: Operators) -> None:
    site = Site(control_plane, crew, "delete")
    with ray_of(kuberay) as ray:
        crew.start(ray=ray.url).leading()
        site.objects.create("matrixclusters", "lab", {"workerGroups": [{"name": "cpu", "replicas": 1}]})
        site.objects.until_ready("matrixclusters", "lab")
        retirement = site.retire()
        assert retirement.ends(SECONDS) == 0, retirement.log
        assert site.objects.list("matrixclusters") == []
        assert site.objects.of_ours() == []
        assert site.replicas == 2, "it was needed to the end"


def test_jobs_on_slurm_are_not_left_to_nobody(control_plane: ControlPlane, crew: Operators) -> None:
    site = Site(control_plane, crew, "keep")
    site.objects.create("matrixclusters", "far", {"backend": {"slurm": {"site": "fair"}}})
    site.objects.merge("matrixclusters", "far", {"metadata": {"finalizers": [FINALIZER]}})
    retirement = site.retire()
    assert retirement.ends(END_SECONDS) == 1
    assert "far: jobs on Slurm would have nobody who ends them" in retirement.log.splitlines()[-1]
    assert (site.replicas, site.finalizers("far")) == (2, [FINALIZER])
    site.objects.merge("matrixclusters", "far", {"metadata": {"finalizers": []}})


@pytest.mark.parametrize("end", ["deadline", "signal"])
def test_what_can_not_be_done_leaves_the_operator_at_work(control_plane: ControlPlane, crew: Operators, end: str) -> None:
    """One that does not give its lease back: scaled up again, and nothing taken from it."""
    site = Site(control_plane, crew, "keep")
    crew.start().leading()
    site.objects.create("matrixclusters", "lab", {})
    wait_for(lambda: site.finalizers("lab") == [FINALIZER], "the operator has taken it up", SECONDS)
    retirement = site.retire(12 if end == "deadline" else 120)
    if end == "signal":
        site.until_scaled_down()
        retirement.until("waits for the operator to give its lease back")
        threading.Timer(1.0, retirement.process.terminate).start()
    assert retirement.ends(END_SECONDS) == 1
    words = "given up after 12 s of waiting for the operator to give its lease back" if end == "deadline" else "stopped by a signal"
    assert words in retirement.log.splitlines()[-1]
    assert (site.replicas, site.finalizers("lab")) == (2, [FINALIZER])


def test_a_cluster_that_is_being_deleted_is_waited_for(control_plane: ControlPlane, crew: Operators) -> None:
    site = Site(control_plane, crew, "keep")
    site.objects.create("matrixclusters", "lab", {})
    site.objects.merge("matrixclusters", "lab", {"metadata": {"finalizers": [FINALIZER]}})
    site.objects.delete("matrixclusters", "lab")
    retirement = site.retire()
    retirement.until("lab, which is being deleted already, to be gone")
    assert site.replicas == 2
    site.objects.merge("matrixclusters", "lab", {"metadata": {"finalizers": []}})
    assert retirement.ends(END_SECONDS) == 0
    assert site.replicas == 0


def test_an_account_without_the_rights_changes_nothing(control_plane: ControlPlane, crew: Operators) -> None:
    site = Site(control_plane, crew, "keep")
    site.user = "nobody-at-all"
    retirement = site.retire()
    assert retirement.ends(END_SECONDS) == 1
    assert "matrixclusters" in retirement.log.splitlines()[-1]
    assert site.replicas == 2


def test_nothing_to_retire_is_fine(control_plane: ControlPlane, crew: Operators) -> None:
    site = Site(control_plane, crew, "keep")
    deployment: Any = f"/apis/apps/v1/namespaces/{crew.namespace}/deployments/{OPERATOR}"
    control_plane.api.delete(deployment)
    assert site.retire().ends(END_SECONDS) == 0
