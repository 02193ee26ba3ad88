"""A cluster's directory on the shared file system, and what is where in it: by it the bridge and the nodes speak to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matrix_slurm_bridge.slurm.names import JobTag

RAY_TOKEN = "ray-token"
"""In `secrets`; means running code on the cluster."""


@dataclass(frozen=True)
class ClusterDirectory:
    """A cluster's directory on the shared file system, and what is where in it."""

    path: Path

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def nodes(self) -> Path:
        """What each node's program says of itself."""
        return self.path / "nodes"

    def status_file(self, tag: JobTag) -> Path:
        return self.nodes / f"{tag.node_name}-{tag.attempt}-{tag.serial}.json"

    def drain_file(self, tag: JobTag) -> Path:
        """Made by the agent: that job's worker moves its work elsewhere, then ends by itself. It holds when that was asked for."""
        return self.nodes / f"{tag.node_name}-{tag.attempt}-{tag.serial}.drain"

    def standby_file(self, tag: JobTag) -> Path:
        """Made by the agent before it submits a head's job that is to succeed another one, and removed when that head may begin. Not the
        other way round: network file systems remember for a while that a file was absent, but not that one which they open is there."""
        return self.nodes / f"{tag.node_name}-{tag.attempt}-{tag.serial}.standby"

    def stands_by(self, tag: JobTag) -> bool:
        """Whether that job's head is to wait. Opened, since network file systems remember names. Raises OSError when it can't be known."""
        try:
            self.standby_file(tag).read_bytes()
        except FileNotFoundError:
            return False
        return True
