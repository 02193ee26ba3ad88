"""What may change while a replica runs: Serve's user_config."""

from __future__ import annotations

from matrix_crds.base import LenientModel


class ReplicaSettings(LenientModel):
    """Changed live."""

    attempt: int = 1
    """Goes up when what Serve has given up on is started again."""
    drain_seconds: float = 120.0
    """How long requests in flight may take when the replica is stopped."""
