"""A release from its install to its uninstall, with real pods. Each test but the last ones leaves a cluster that was never touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.e2e.kubernetes.chart.site import CHART, CLUSTER, MODEL, OPERATOR, RESTRICTED, SECONDS, Site
from tests.lab.errors import LabError
from tests.lab.provision import Cluster

pytestmark = pytest.mark.timeout(3 * SECONDS)
WAIT = ("--wait", "--timeout=5m")


@pytest.fixture(scope="module")
def site(pods_cluster: Cluster, helm_programs: None) -> Iterator[Site]:
    """The chart, installed as its page says, and the example with an answer in it."""
    if not pods_cluster.kuberay:
        pytest.skip("there is no KubeRay on this cluster")
    with pods_cluster.namespace() as namespace, pods_cluster.namespace() as team:
        made = Site(pods_cluster, namespace, team)
        for name in (namespace, team):
            made.kubectl("label", "namespace", name, RESTRICTED)
        # The kinds of the tests' cluster were applied without Helm.
        made.release.run("install", str(CHART), "--take-ownership", *made.values(), *WAIT)
        try:
            made.apply_example()
            made.ready()
            yield made
        finally:
            with suppress(LabError):  # the last test has done it
                made.release.run("uninstall", "--no-hooks")


@pytest.fixture(autouse=True)
def _timed(request: pytest.FixtureRequest, site: Site) -> Iterator[None]:
    begun = time.monotonic()
    yield
    print(f"\n{request.node.name}: {time.monotonic() - begun:.0f} s")


def test_the_example_answers(site: Site) -> None:
    assert site.answer()


def test_two_operators_run_and_one_acts(site: Site) -> None:
    assert len(site.ready_operators()) == 2
    assert site.leader() in site.ready_operators()


def test_the_operators_can_write_nowhere_but_to_their_tmp(site: Site) -> None:
    code = "import pathlib; pathlib.Path('/tmp/x').touch(); pathlib.Path('/home/matrix/x').touch()"
    with pytest.raises(LabError, match="Read-only file system: '/home/matrix/x'"):
        site.kubectl("exec", site.leader(), "--", "python", "-c", code, namespace=site.namespace)


def test_a_changed_value_replaces_operators_and_nothing_else(site: Site) -> None:
    before, operators = site.identities(), site.ready_operators()
    site.release.run("upgrade", str(CHART), *site.values(**{"podLabels.round": "two", "clusters.gpuResource": "example.com/gpu"}), *WAIT)
    assert not set(operators) & set(site.ready_operators())
    site.acts(replicas=1)
    assert site.identities() == before
    assert site.answer()


def test_another_image_replaces_operators_and_nothing_else(site: Site) -> None:
    """The same image under another tag: clusters go on with the one that they were made with."""
    node, before, operators = site.cluster.node, site.identities(), site.ready_operators()
    if node is None:
        pytest.skip("the image has another name on the lab's own node alone")
    image = f"{site.cluster.image}-again"
    node._ctr("images", "tag", "--force", site.cluster.image, image)  # nobody else needs an image to have two names
    site.release.run("upgrade", str(CHART), *site.values(**{"image.tag": image.rpartition(":")[2]}), *WAIT)
    images = {container["image"] for pod in site.operators() for container in pod["spec"]["containers"]}
    assert images == {image}
    assert not set(operators) & set(site.ready_operators())
    site.acts(replicas=2)
    assert site.identities() == before


def test_a_rollback_is_the_way_back(site: Site) -> None:
    before = site.identities()
    site.release.run("rollback", "1", *WAIT)
    images = {container["image"] for pod in site.operators() for container in pod["spec"]["containers"]}
    assert images == {site.cluster.image}
    assert site.release.revisions()[-1] == "deployed"
    site.acts(replicas=1)
    assert site.identities() == before


def test_when_the_operator_that_acts_is_killed_the_other_takes_over(site: Site) -> None:
    before, killed = site.identities(), site.leader()
    site.kubectl("delete", "pod", killed, "--grace-period=0", "--force", namespace=site.namespace)
    site.wait(lambda: site.leader() not in ("", killed), "another operator acts", 120)
    site.acts(replicas=2)
    assert site.identities() == before
    site.wait(lambda: len(site.ready_operators()) == 2, "there are two operators again")


def test_a_drain_never_takes_the_last_operator(site: Site) -> None:
    """There is one machine, so the second can't go before a third has come, which finds no place: Kubernetes refuses to evict it."""
    node, before = site.cluster.node, site.identities()
    if node is None:
        pytest.skip("only the lab's own node may be drained")
    drain = ("drain", node.name, f"--pod-selector={OPERATOR}", "--delete-emptydir-data", "--timeout=20s")
    try:
        with pytest.raises(LabError, match="disruption budget"):
            site.kubectl(*drain)
        assert len(site.ready_operators()) == 1
        site.wait(lambda: site.leader() in site.ready_operators(), "the operator that is left acts", 120)
        site.acts(replicas=1)
    finally:
        site.kubectl("uncordon", node.name)
    site.wait(lambda: len(site.ready_operators()) == 2, "there are two operators again")
    assert site.identities() == before


def test_an_uninstall_leaves_kinds_objects_and_what_runs(site: Site) -> None:
    before = site.identities()
    site.release.run("uninstall", "--wait", "--timeout=6m")
    assert site.operators() == []
    assert site.kubectl("get", "mxc,mxd", "--output", "name").split() == [
        f"matrixcluster.matrix.dev/{CLUSTER}",
        f"modeldeployment.matrix.dev/{MODEL}",
    ]
    assert site.identities() == before
    assert site.answer()
    left = site.kubectl("get", "all,configmaps,secrets,roles,rolebindings,leases", "--output", "name", namespace=site.namespace).split()
    assert {name for name in left if "matrix" in name} <= {"lease.coordination.k8s.io/matrix-operator"}


def test_then_a_namespace_can_be_deleted_with_all_that_runs_in_it(site: Site) -> None:
    site.kubectl("delete", "namespace", site.team, "--timeout=180s")


def test_an_operator_for_one_namespace_gets_by_with_its_roles(site: Site) -> None:
    """It begins only when it has all rights that it needs; and it leaves the rest alone."""
    own = Site(site.cluster, site.namespace, site.namespace)
    suspended = f"apiVersion: matrix.dev/v1alpha1\nkind: MatrixCluster\nmetadata: {{name: {CLUSTER}}}\nspec: {{suspend: true}}\n"
    with site.cluster.namespace() as elsewhere:
        values = own.values(**{"watchNamespaces[0]": own.namespace, "crds.enabled": False, "replicas": 1})
        own.release.run("install", str(CHART), *values, *WAIT)
        for namespace in (own.namespace, elsewhere):
            own.kubectl("apply", "--filename", "-", stdin=suspended, namespace=namespace)
        own.kubectl("wait", f"mxc/{CLUSTER}", "--for=jsonpath={.status.conditions[0].reason}=Suspended", f"--timeout={SECONDS:g}s")
        assert own.kubectl("get", f"mxc/{CLUSTER}", "--output", "jsonpath={.status}", namespace=elsewhere) == ""
        assert not own.objects("clusterrolebindings", "--selector", "app.kubernetes.io/instance=matrix")
        own.kubectl("delete", f"mxc/{CLUSTER}", "--timeout=120s")
        own.release.run("uninstall", "--wait", "--timeout=6m")
