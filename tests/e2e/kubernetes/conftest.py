"""A real control plane that all tests here share, with our CRDs, and a namespace of its own for each of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import build
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import GoMissing, LabError
from tests.lab.kuberay.standin import InThread, StandIn, in_thread

ROOT = Path(__file__).parents[3]
OUR_CRDS = sorted((ROOT / "crds").glob("*.yaml"))
KUBERAY_CRDS = sorted((ROOT.parent / "shared" / "data" / "kuberay-crds").glob("*_rayclusters.yaml"))
"""KubeRay's own, where a copy lies beside the checkout; nothing here depends on it. Only of the kind that the operator uses: each of the
four costs the API server 4 s of processor time and 100 MB."""
OWN_KUBERAY_CRDS = [ROOT / "tests" / "lab" / "kuberay" / "rayclusters.yaml"]

_numbers = itertools.count(1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds the control plane before the first test: it may take minutes, which are none of the test's own time-out."""
    wanted = any("control_plane" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        with contextlib.suppress(LabError):  # the fixture comes to the same error, and tells it
            build.ensure(tell=reporter.write_line if reporter else print)


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
    """A fresh one, deleted afterwards with everything in it."""
    name = f"test-{next(_numbers)}"
    control_plane.api.create_namespace(name)
    yield name
    control_plane.api.abandon_namespace(name)


@pytest.fixture
def kuberay(control_plane: ControlPlane) -> Iterator[InThread]:
    """The stand-in for KubeRay and for machines: RayClusters get ready at once, until the test sets something else."""
    with in_thread(StandIn(control_plane.kubeconfig)) as running:
        yield running
