"""What a renderer says no to."""

from __future__ import annotations

from matrix_crds.reasons import ClusterReason


class RenderRefusal(Exception):
    """The spec can't be carried out with that profile, until one of the two is changed. Carries the condition's reason and message."""

    def __init__(self, reason: ClusterReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
