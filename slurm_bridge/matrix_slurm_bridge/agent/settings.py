"""What the agent takes from the site's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matrix_slurm_bridge.render.profile import ProfileDirectives


@dataclass(frozen=True)
class AgentSettings:
    """Read anew for each look: a correction of the site's file counts at once."""

    site: str
    shared: Path
    profiles: Mapping[str, ProfileDirectives]
    poll_seconds: float = 10.0
    """Between two looks at the queue while nothing changes."""
    max_clusters: int = 20
    max_jobs: int = 200
    """In the queue at once, of all clusters."""
    model_cache: Path | None = None
    """For clusters that name none; None: a directory of the shared one."""

    @property
    def models(self) -> Path:
        return self.model_cache or self.shared / "models"
