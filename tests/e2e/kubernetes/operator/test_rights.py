"""The roles in deploy/rbac are what an operator needs, and no more: its calls are taken from the API server's audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_crds.on_kubernetes import OPERATOR
from matrix_operator.rbac import NAMESPACE, RULES, outputs
from tests.e2e.kubernetes.conftest import OUR_CRDS, OWN_KUBERAY_CRDS
from tests.e2e.kubernetes.kuberay.fake_reach import ray_of
from tests.e2e.kubernetes.operator.objects import SECONDS, Objects
from tests.e2e.kubernetes.operator.operators import END_SECONDS, operators
from tests.lab import build
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import GoMissing
from tests.lab.kuberay.standin import StandIn, in_thread
from tests.lab.processes import Process

pytestmark = pytest.mark.timeout(300)

USER = f"system:serviceaccount:{NAMESPACE}:{OPERATOR}"
Right = tuple[str, str, str]
"""Group, resource with its subresource, verb."""

OF_EVERYBODY = {("authorization.k8s.io", "selfsubjectaccessreviews", "create")}
"""By the role system:basic-user, which all users have."""


class Audited(ControlPlane):
    """Writes down who asked for what."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "plane", crds=[*OUR_CRDS, *OWN_KUBERAY_CRDS], scheduler=True)
        self.audit = directory / "audit.log"
        self.since = 0
        """Of the log, the calls from this one on are looked at."""
        self._policy = directory / "policy.yaml"
        rules = [{"level": "Metadata", "users": [USER]}, {"level": "None"}]
        self._policy.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))

    def _run(self, name: str, argv: Sequence[str]) -> Process:
        if name == "kube-apiserver":
            argv = [*argv, f"--audit-policy-file={self._policy}", f"--audit-log-path={self.audit}"]
        return super()._run(name, argv)

    def calls(self) -> list[dict[str, Any]]:
        lines = self.audit.read_text().rpartition("\n")[0].splitlines() if self.audit.exists() else []
        return [json.loads(line) for line in lines[self.since :]]

    def used(self) -> set[Right]:
        """Rights on resources; what is no resource (discovery, versions) is open to all."""
        return {right(call["objectRef"], call["verb"]) for call in self.calls() if "objectRef" in call}

    def refused(self) -> set[str]:
        return {f"{call['verb']} {call['requestURI']}" for call in self.calls() if call.get("responseStatus", {}).get("code") == 403}


def right(reference: dict[str, str], verb: str) -> Right:
    resource = "/".join(part for part in (reference["resource"], reference.get("subresource")) if part)
    return reference.get("apiGroup", ""), resource, verb


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """A control plane of its own."""
    try:
        build.ensure()
    except GoMissing as error:
        pytest.skip(str(error))
    with Audited(tmp_path_factory.mktemp("audited")) as plane:
        yield plane


def apply(plane: ControlPlane, file: str, namespace: str | None = None) -> None:
    """As `kubectl apply -f` with, or without, `-n`."""
    places = {"Role": "roles", "RoleBinding": "rolebindings", "ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"}
    for manifest in outputs()[file]:
        kind, within = manifest["kind"], manifest["metadata"].get("namespace", namespace)
        if kind == "Namespace":
            plane.api.create("/api/v1/namespaces", manifest)
        elif kind == "ServiceAccount":
            plane.api.create(f"/api/v1/namespaces/{within}/serviceaccounts", manifest)
        else:
            scope = "" if kind.startswith("Cluster") else f"/namespaces/{within}"
            plane.api.create(f"/apis/rbac.authorization.k8s.io/v1{scope}/{places[kind]}", manifest)


def live(plane: ControlPlane, namespace: str) -> None:
    """A whole life: made, ready, larger, smaller, gone."""
    objects = Objects(plane, namespace)
    objects.create("matrixclusters", "lab", {"workerGroups": [{"name": "cpu", "replicas": 1}]})
    objects.create("modeldeployments", "m", {"clusterRef": {"name": "lab"}, "engine": {"dummy": {}}, "model": {"source": "file:///m"}})
    objects.until_ready("matrixclusters", "lab")
    objects.until_ready("modeldeployments", "m")
    for replicas in (3, 1):
        objects.merge("matrixclusters", "lab", {"spec": {"workerGroups": [{"name": "cpu", "replicas": replicas}]}})
        wait_for(lambda: len(objects.list("pods")) == replicas + 1, f"{replicas} workers", SECONDS)  # noqa: B023  # waited for here
        objects.until_ready("matrixclusters", "lab")
    objects.delete("matrixclusters", "lab")
    objects.until_gone("matrixclusters", "lab")
    objects.delete("modeldeployments", "m")
    assert objects.of_ours() == []


def granted(file: str) -> set[Right]:
    """What a file's roles allow."""
    rules = [rule for manifest in outputs()[file] for rule in manifest.get("rules", ())]
    return {(rule["apiGroups"][0], rule["resources"][0], verb) for rule in rules for verb in rule["verbs"]}


def test_a_life_under_the_roles_uses_every_right_and_asks_for_no_other(audited: Audited, tmp_path: Path) -> None:
    """First with the roles of one namespace, then with the cluster-wide one."""
    audited.api.create_namespace("one")
    apply(audited, "own-namespace.yaml")
    apply(audited, "namespaced.yaml", "one")
    rare = {(rule.group, rule.resource, verb) for rule in RULES for verb in rule.rare}
    for file, namespaces in (("namespaced.yaml", ("one",)), ("cluster-wide.yaml", ())):
        if not namespaces:
            apply(audited, file)
            audited.api.delete(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{OPERATOR}")  # to be made once more
        audited.since += len(audited.calls())
        with (
            in_thread(StandIn(audited.kubeconfig)) as kuberay,
            ray_of(kuberay) as ray,
            operators(tmp_path, audited, NAMESPACE, USER) as crew,
        ):
            operator = crew.start(namespaces=namespaces, ray=ray.url).leading()
            live(audited, "one")
            operator.process.terminate()
            assert operator.ends(END_SECONDS) == 0
        assert audited.refused() == set()
        allowed = granted(file) | granted("own-namespace.yaml")
        assert audited.used() - OF_EVERYBODY <= allowed
        assert allowed - audited.used() - rare == set(), "rights that nothing uses"


def test_what_is_missing_is_said_at_once(audited: Audited, tmp_path: Path) -> None:
    audited.api.create_namespace("two")
    with operators(tmp_path, audited, "two", "nobody-at-all") as crew:
        operator = crew.start()
        assert operator.ends(END_SECONDS) == 5
    last = operator.log.splitlines()[-1]
    assert "this account may not list matrixclusters.matrix.dev in namespace two, watch matrixclusters.matrix.dev" in last
    assert "deploy/rbac" in last
