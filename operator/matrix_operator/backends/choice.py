"""Which backend carries a cluster: what an engine can run, and what a manifest asks for."""

from __future__ import annotations

from dataclasses import dataclass

from matrix_crds.cluster import AllocationKind, MatrixCluster
from matrix_operator.backends.port import ClusterBackend

FIELDS = ("local", "kubernetes", "slurm")


@dataclass(frozen=True)
class BackendChoice:
    """A backend and its names: `name` as in status.backend, `kind` as in status.allocation."""

    name: str
    kind: AllocationKind
    backend: ClusterBackend


@dataclass(frozen=True)
class Backends:
    """What an engine can run, by the field of spec.backend. `default` is used when that is absent."""

    engine: str
    default: str
    choices: dict[str, BackendChoice]

    def choose(self, cluster: MatrixCluster) -> BackendChoice | None:
        """None when the spec names one that this engine does not have."""
        asked = cluster.spec.backend
        named = [field for field in FIELDS if asked is not None and getattr(asked, field) is not None]
        return self.choices.get(named[0] if named else self.default)

    @property
    def remedy(self) -> str:
        """What to tell whoever asked for another one."""
        able = ", ".join(sorted(self.choices))
        return f"the {self.engine} engine runs backends {able}; set spec.backend to one of them, or leave it out"
