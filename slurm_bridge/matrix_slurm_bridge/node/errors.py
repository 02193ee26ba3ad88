"""What keeps a node from coming up."""

from __future__ import annotations

from matrix_crds.reasons import ClusterReason


class NodeFailure(Exception):
    """The node can't start here, or can't go on. Carries the reason and message of its status."""

    def __init__(self, message: str, reason: ClusterReason = ClusterReason.START_FAILED) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Superseded(Exception):
    """Another head is the one now: this one ends itself. The text says which."""


class Ended(Exception):
    """Slurm, or the site's agent, ends the job. The text says why."""
