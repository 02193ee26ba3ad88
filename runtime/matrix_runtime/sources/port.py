"""What resolving a source tells on its way."""

from __future__ import annotations

from collections.abc import Callable

from matrix_proto.state import Progress, StartPhase

Report = Callable[[StartPhase, str, Progress | None], None]
"""Called with the phase, what is being done in words, and how far it has come."""
