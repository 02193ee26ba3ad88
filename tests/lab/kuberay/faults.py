"""What tests set while the stand-in runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Pace:
    """Seconds of what takes time on real machines. All at once by default."""

    creating: float = 0.0
    """From a machine being found to the containers running; for a worker after its head runs."""
    readying: float = 0.0
    """From there until the pod is ready."""
    ending: float = 0.0
    """From being told to go until it is gone, no longer than the pod's grace."""
    restarting: float = 0.0
    """From the end of a container to its next start."""


@dataclass
class Faults:
    """What KubeRay does wrong, or is prevented from."""

    down: bool = False
    """It does nothing; what has happened meanwhile it sees afterwards."""
    blind: bool = False
    """It goes on with the pods that it knew when this was set: an informer that missed events."""
    status_delay: float = 0.0
    """Seconds from a change until the status tells of it."""
    status_frozen: bool = False
    """It acts, but the status is not written any more."""
    lies: dict[str, Any] = field(default_factory=dict)
    """Laid over each status that is written."""
    old: bool = False
    """Without conditions and observedGeneration, as before they were made."""


@dataclass
class Ailments:
    """What is wrong with pods, by the image of their containers: it is asked for anew at each start."""

    missing_images: set[str] = field(default_factory=set)
    crashing_images: dict[str, Ended] = field(default_factory=dict)
    """Containers that end like this, as soon as they are started."""


@dataclass(frozen=True)
class Ended:
    """How a container ends."""

    reason: str = "Error"
    exit_code: int = 1
    message: str = ""


OUT_OF_MEMORY = Ended("OOMKilled", 137)
