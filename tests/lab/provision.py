"""Clusters for tests that need more of Kubernetes than objects: one is chosen by `--cluster`, and says what is there."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.lab import build, image
from tests.lab.api import CRDS, Api
from tests.lab.control_plane import ControlPlane
from tests.lab.errors import LabError
from tests.lab.kuberay.standin import StandIn, in_thread
from tests.lab.node import lab, needs
from tests.lab.node.node import Node, ensure

ROOT = Path(__file__).parents[2]
OUR_CRDS = sorted((ROOT / "crds").glob("*.yaml"))
RAY_CLUSTERS = "rayclusters.ray.io"


@dataclass(frozen=True)
class Cluster:
    """What a provisioner made, or found."""

    kubeconfig: Path
    """An administrator's."""
    api: Api
    image: str = ""
    """Of the operator and the runtime, which its nodes have or can pull; none where no pod runs."""
    kuberay: str = ""
    """What makes pods of RayClusters: `real`, `stand-in`, or nothing."""
    node: Node | None = None
    """The lab's own, which tests may hurt."""

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A fresh one, deleted afterwards with everything in it, if it is still there."""
        name = f"matrix-test-{secrets.token_hex(4)}"  # others may test on the same cluster
        self.api.create_namespace(name)
        try:
            yield name
        finally:
            if self.api.exists(f"/api/v1/namespaces/{name}"):
                self.api.abandon_namespace(name)


class Provisioner(Protocol):
    """A way to a cluster."""

    @property
    def runs_pods(self) -> bool:
        """Whether its cluster has machines that run containers."""
        ...

    def prepare(self, tell: Callable[[str], object]) -> None:
        """What may take minutes, before any test runs; `tell` gets a line before that.

        Raises LabError; NodeMissing or GoMissing when this machine can't have it.
        """
        ...

    def cluster(self, directory: Path) -> AbstractContextManager[Cluster]:
        """The cluster, with our kinds, until the end of the block; files go into `directory`. Raises as `prepare` does."""
        ...


@dataclass(frozen=True)
class LabPlane:
    """`lab`: the control plane alone, so no pod runs."""

    crds: Sequence[Path]
    runs_pods: bool = False

    def prepare(self, tell: Callable[[str], object]) -> None:
        build.ensure(tell=tell)

    @contextmanager
    def cluster(self, directory: Path) -> Iterator[Cluster]:
        with ControlPlane(directory / "plane", crds=[*OUR_CRDS, *self.crds], scheduler=True) as plane:
            yield Cluster(plane.kubeconfig, plane.api)


@dataclass(frozen=True)
class LabNode:
    """`lab-node`: the control plane and a real node, with the stand-in for KubeRay."""

    crds: Sequence[Path]
    """KubeRay's, or what stands in for them."""
    runs_pods: bool = True

    def prepare(self, tell: Callable[[str], object]) -> None:
        needs.require()
        build.ensure(tell=tell)
        ensure(tell)

    @contextmanager
    def cluster(self, directory: Path) -> Iterator[Cluster]:
        with lab.running(directory / "lab", [*OUR_CRDS, *self.crds]) as made:
            load_image(made.node)
            with in_thread(StandIn(made.plane.kubeconfig, nodes=())):
                yield Cluster(made.plane.kubeconfig, made.plane.api, image.name(), "stand-in", made.node)


@dataclass(frozen=True)
class Existing:
    """`existing`: a cluster that is there, with KubeRay or without it. Our kinds are applied and stay."""

    kubeconfig: Path | None
    image: str
    runs_pods: bool = True

    def prepare(self, tell: Callable[[str], object]) -> None:
        if not (self.kubeconfig and self.image):
            raise LabError("--cluster=existing needs --kubeconfig, and --image, a reference that the cluster's machines can pull or have")

    @contextmanager
    def cluster(self, directory: Path) -> Iterator[Cluster]:
        assert self.kubeconfig
        api = Api.of_kubeconfig(self.kubeconfig)
        try:
            api.apply_crds(OUR_CRDS)
            kuberay = "real" if api.exists(f"{CRDS}/{RAY_CLUSTERS}") else ""
            yield Cluster(self.kubeconfig, api, self.image, kuberay)
        finally:
            api.close()


def load_image(node: Node) -> None:
    """Gives the node the image of the operator and the runtime, made of what is installed here."""
    with tempfile.TemporaryDirectory(prefix="matrix-image-") as scratch:
        archive = Path(scratch) / "image.tar"
        image.write(archive)
        node.load(archive)
