"""A control plane with its node, as one thing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.control_plane import ControlPlane
from tests.lab.node import addresses
from tests.lab.node.node import Node
from tests.lab.node.space import Space


@dataclass(frozen=True)
class Lab:
    """A cluster whose pods run."""

    plane: ControlPlane
    node: Node


@contextmanager
def running(directory: Path, crds: Iterable[Path] = ()) -> Iterator[Lab]:
    """Such a cluster until the end of the block, then nothing of it. `directory` is made; `crds` are files, as ControlPlane takes them.

    Raises NodeMissing, GoMissing, LabError.
    """
    with (
        _made(directory),
        Space(directory / "node") as space,
        ControlPlane(directory / "plane", crds=crds, scheduler=True, address=addresses.HOST) as plane,
        Node(plane, space) as node,
    ):
        yield Lab(plane, node)


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    directory.mkdir(mode=0o755, parents=True)
    try:
        yield
    finally:
        directory.rmdir()
