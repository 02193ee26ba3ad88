"""A real control plane that all tests here share, with our CRDs, and a namespace of its own for each of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import build, helm
from tests.lab.api import wait_for
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import GoMissing, LabError, NodeMissing
from tests.lab.kuberay.standin import InThread, StandIn, in_thread
from tests.lab.provision import Cluster, Existing, LabNode, LabPlane, Provisioner
from tests.lab.provision_kind import Kind

ROOT = Path(__file__).parents[3]
OUR_CRDS = sorted((ROOT / "crds").glob("*.yaml"))
KUBERAY_CRDS = sorted((ROOT.parent / "shared" / "data" / "kuberay-crds").glob("*_rayclusters.yaml"))
"""KubeRay's own, where a copy lies beside the checkout; nothing here depends on it. Only of the kind that the operator uses: each of the
four costs the API server 4 s of processor time and 100 MB."""
OWN_KUBERAY_CRDS = [ROOT / "tests" / "lab" / "kuberay" / "rayclusters.yaml"]

CLUSTERS = ("lab", "lab-node", "kind", "existing")

MACHINES_SECONDS = 150.0
"""After a test in which the API server was away for long the controllers take their time."""

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the tests find machines that run pods. Without any of these, those that need them are skipped."""
    group = parser.getgroup("kubernetes")
    group.addoption(
        "--cluster", choices=CLUSTERS, default=CLUSTERS[0], help="the cluster of tests that need pods (default: lab, which has none)"
    )
    group.addoption("--kubeconfig", type=Path, help="of --cluster=existing")
    group.addoption("--image", default="", help="of the operator and the runtime, for --cluster=existing")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds what the tests' clusters are made of before the first test: it may take minutes, which are none of the test's own time-out."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    tell = reporter.write_line if reporter else print
    if session.config.option.collectonly:
        return
    with contextlib.suppress(LabError):  # the fixtures come to the same errors, and tell them
        if "control_plane" in wanted:
            build.ensure(tell=tell)
        if "cluster" in wanted:
            _provisioner(session.config).prepare(tell)
        if "helm_programs" in wanted:
            helm.ensure(tell=tell)


def _provisioner(config: pytest.Config) -> Provisioner:
    # The options are unknown when pytest was called for a directory above this one.
    made: dict[str, Callable[[], Provisioner]] = {
        "lab": lambda: LabPlane(KUBERAY_CRDS or OWN_KUBERAY_CRDS),
        "lab-node": lambda: LabNode(KUBERAY_CRDS or OWN_KUBERAY_CRDS),
        "kind": Kind,
        "existing": lambda: Existing(config.getoption("--kubeconfig"), config.getoption("--image")),
    }
    return made[config.getoption("--cluster", CLUSTERS[0])]()


@pytest.fixture(scope="session")
def provisioner(pytestconfig: pytest.Config) -> Provisioner:
    """What `--cluster` names."""
    return _provisioner(pytestconfig)


@pytest.fixture(scope="session")
def cluster(provisioner: Provisioner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that `--cluster` names, for tests that need more than objects."""
    try:
        provisioner.prepare(print)
    except (GoMissing, NodeMissing) as error:
        pytest.skip(str(error))
    with provisioner.cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="session")
def pods_cluster(provisioner: Provisioner, request: pytest.FixtureRequest) -> Cluster:
    """One where pods run; nothing is started to find that there is none."""
    if not provisioner.runs_pods:
        pytest.skip("no pod runs on the control plane alone: --cluster=lab-node, kind or existing")
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, API server, controller manager and scheduler, with our CRDs and KubeRay's, or what stands in for them."""
    crds = [*OUR_CRDS, *(KUBERAY_CRDS or OWN_KUBERAY_CRDS)]
    plane = ControlPlane(tmp_path_factory.mktemp("lab") / "plane", crds=crds, scheduler=True)
    try:
        build.ensure()
    except GoMissing as error:
        pytest.skip(str(error))
    with plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh one, deleted afterwards with everything in it. A test that failed while the API server was away leaves it to the next one as
    it was before."""
    name = f"test-{next(_numbers)}"
    control_plane.api.create_namespace(name)
    yield name
    control_plane.restore()
    control_plane.api.abandon_namespace(name)


@pytest.fixture
def kuberay(control_plane: ControlPlane) -> Iterator[InThread]:
    """The stand-in for KubeRay and for machines: RayClusters get ready at once, until the test sets something else."""
    with in_thread(StandIn(control_plane.kubeconfig)) as running:
        wait_for(lambda: _take_pods(control_plane), "the stand-in's machines take pods", MACHINES_SECONDS)
        yield running


def _take_pods(plane: ControlPlane) -> bool:
    """The node controller has seen that they are ready."""
    machines = plane.api.get("/api/v1/nodes")["items"]
    return bool(machines) and not any(machine["spec"].get("taints") for machine in machines)
