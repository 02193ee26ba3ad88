"""The chart against a real API server without nodes: what is made, upgraded, taken back and left; the rights of its accounts.

Hooks need pods, so the uninstall's Job does not run here; test_flow.py has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_operator.engines.kubernetes_preflight import NotReady, check
from matrix_operator.rbac import OPERATOR, Place
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import connect
from tests.e2e.kubernetes.chart.site import CHART, CLUSTER, SECONDS, Site
from tests.e2e.kubernetes.conftest import KUBERAY_CRDS, OWN_KUBERAY_CRDS
from tests.lab import build
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import GoMissing, LabError
from tests.lab.provision import Cluster
from tests.unit.chart import rendered

pytestmark = pytest.mark.timeout(SECONDS)
RIGHTS_SECONDS = 60.0
SUSPENDED = f"apiVersion: matrix.dev/v1alpha1\nkind: MatrixCluster\nmetadata: {{name: {CLUSTER}}}\nspec: {{suspend: true}}\n"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, helm_programs: None) -> Iterator[Cluster]:
    """A control plane of its own, in which nothing of Matrix ever was."""
    try:
        build.ensure()
    except GoMissing as error:
        pytest.skip(str(error))
    with ControlPlane(tmp_path_factory.mktemp("bare") / "plane", crds=KUBERAY_CRDS or OWN_KUBERAY_CRDS) as plane:
        yield Cluster(plane.kubeconfig, plane.api, "registry.example/matrix:1")


@pytest.fixture
def site(bare: Cluster) -> Iterator[Site]:
    with bare.namespace() as namespace, bare.namespace() as team:
        made = Site(bare, namespace, team)
        yield made
        if made.release.installed:
            made.release.run("uninstall", "--no-hooks")


def account(site: Site, directory: Path) -> Path:
    """A kubeconfig of the operator's service account."""
    token = site.kubectl("create", "token", OPERATOR, namespace=site.namespace)
    config = yaml.safe_load(site.cluster.kubeconfig.read_text())
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = directory / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def may_begin(site: Site, directory: Path, *namespaces: str) -> bool:
    """Whether an operator may, by its rights."""

    async def asked() -> None:
        connection = connect(kubeconfig=account(site, directory))
        try:
            await check(Api(connection), Place(namespaces, False, site.namespace, OPERATOR))
        finally:
            await connection.http.aclose()

    try:
        asyncio.run(asked())
    except NotReady as error:
        assert "may not" in str(error)
        return False
    return True


def until_may_begin(site: Site, directory: Path, *namespaces: str) -> None:
    """The API server goes by roles a moment after they are made."""
    wait_for(lambda: may_begin(site, directory, *namespaces), "the roles are known", RIGHTS_SECONDS)


def operator(site: Site) -> dict[str, Any]:
    """Its Deployment."""
    (found,) = site.objects("deployments", namespace=site.namespace)
    return found


def test_from_nothing_to_an_upgrade_back_and_away(site: Site, tmp_path: Path) -> None:
    """Kinds and objects are there from the first step to the last, and beyond."""
    site.release.run("install", str(CHART), *site.values())
    kinds = [f"crd/{plural}.matrix.dev" for plural in ("matrixclusters", "modeldeployments")]
    site.kubectl("wait", *kinds, "--for=condition=Established", "--timeout=60s")
    until_may_begin(site, tmp_path)
    site.kubectl("apply", "--filename", "-", stdin=SUSPENDED)
    uid, first = site.kubectl("get", "mxc", CLUSTER, "--output", "jsonpath={.metadata.uid}"), operator(site)["spec"]

    site.release.run("upgrade", str(CHART), *site.values(replicas=3, **{"image.tag": "2"}))
    assert operator(site)["spec"]["replicas"] == 3
    assert operator(site)["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/matrix:2"
    until_may_begin(site, tmp_path)

    site.release.run("rollback", "1")
    assert operator(site)["spec"] == first
    assert site.release.revisions() == ["superseded", "superseded", "deployed"]

    site.release.run("uninstall", "--no-hooks")
    assert site.objects("deployments,serviceaccounts,roles,poddisruptionbudgets", namespace=site.namespace) == [
        found for found in site.objects("serviceaccounts", namespace=site.namespace) if found["metadata"]["name"] == "default"
    ]
    assert not site.objects("clusterroles,clusterrolebindings", "--selector", "app.kubernetes.io/instance=matrix")
    assert site.kubectl("get", "mxc", CLUSTER, "--output", "jsonpath={.metadata.uid}") == uid

    site.release.run("install", str(CHART), *site.values())  # the kinds that were kept are the release's again
    until_may_begin(site, tmp_path)
    assert site.kubectl("get", "mxc", CLUSTER, "--output", "jsonpath={.metadata.uid}") == uid


def test_for_some_namespaces_there_are_roles_in_them_alone(site: Site, tmp_path: Path) -> None:
    with site.cluster.namespace() as second, site.cluster.namespace() as other:
        watched = {f"watchNamespaces[{index}]": name for index, name in enumerate((site.team, second))}
        site.release.run("install", str(CHART), "--take-ownership", *site.values(**watched))
        assert not site.objects("clusterrolebindings", "--selector", "app.kubernetes.io/instance=matrix")
        until_may_begin(site, tmp_path, site.team, second)
        assert not may_begin(site, tmp_path, other)
        assert not may_begin(site, tmp_path)
        site.release.run("upgrade", str(CHART), *site.values(**{"watchNamespaces[0]": second}))
        wait_for(lambda: not may_begin(site, tmp_path, site.team), "the roles that went are forgotten", RIGHTS_SECONDS)


def test_a_network_policy_is_taken(site: Site) -> None:
    """No policy has an effect here: nothing on the lab's network enforces one."""
    site.release.run("install", str(CHART), "--take-ownership", *site.values(**{"networkPolicy.enabled": True}))
    (policy,) = site.objects("networkpolicies", namespace=site.namespace)
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    selected = site.objects("deployments", "--selector", "app.kubernetes.io/name=matrix-operator", namespace=site.namespace)
    labels = selected[0]["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_a_release_that_is_refused_leaves_nothing(site: Site) -> None:
    with pytest.raises(LabError, match="additional properties 'replica' not allowed"):
        site.release.run("install", str(CHART), *site.values(replica=2))
    assert not site.release.installed
    assert not site.objects("deployments,configmaps", "--selector", "app.kubernetes.io/instance=matrix", namespace=site.namespace)


@pytest.mark.parametrize("case", rendered.CASES)
def test_the_api_server_takes_all_that_is_rendered(site: Site, case: str) -> None:
    """Each object, with every field known. Kinds of others that are not there are counted, not looked at."""
    served = {name.partition(".")[2] for name in site.kubectl("api-resources", "--no-headers", "--output", "name").split()}
    placed: dict[str, list[str]] = {site.namespace: [], site.team: []}
    for found in rendered.objects(case):
        if found["apiVersion"].rpartition("/")[0] in served:
            own = found["metadata"].get("namespace") == "matrix"
            where = site.namespace if own else site.team
            place = {"namespace": where} if "namespace" in found["metadata"] else {}
            placed[where].append(yaml.safe_dump(found | {"metadata": found["metadata"] | place}))
    assert sum(map(len, placed.values())) >= 8
    for namespace, texts in placed.items():
        if texts:
            site.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin="---\n".join(texts), namespace=namespace)


def test_the_kustomize_base_is_taken(bare: Cluster) -> None:
    site = Site(bare, rendered.NAMESPACE, rendered.NAMESPACE)
    try:
        site.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(rendered.KUSTOMIZE))
        assert operator(site)["metadata"]["name"] == OPERATOR
    finally:
        site.kubectl("delete", "-k", str(rendered.KUSTOMIZE), "--ignore-not-found", "--wait=false")
    wait_for(lambda: not bare.api.exists(f"/api/v1/namespaces/{rendered.NAMESPACE}"), "the namespace is gone", 120)
