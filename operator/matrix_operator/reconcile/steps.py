"""The steps that a decision may take: small values, each with its reason. Carrying one out twice does no harm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from matrix_crds.cluster import Allocation


@dataclass(frozen=True)
class Step:
    why: str


@dataclass(frozen=True)
class AddFinalizer(Step):
    """Before the first external effect."""


@dataclass(frozen=True)
class RecordAllocation(Step):
    """Write to the status what is about to be made, before it is made."""

    allocation: Allocation


@dataclass(frozen=True)
class Ensure(Step):
    """One step of the backend towards the desired state."""

    allocation: Allocation


@dataclass(frozen=True)
class PutServe(Step):
    """Hand Serve the whole set of applications."""

    entries: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Remove(Step):
    """One step of the backend towards nothing being left."""


@dataclass(frozen=True)
class LetGo(Step):
    """One step of the backend towards the cluster outliving its object."""


@dataclass(frozen=True)
class ReleaseFinalizer(Step):
    """Nothing of ours is left outside: let the object go."""


StepHook = Callable[[Step, str], Awaitable[None]]
"""Called before ("before") and after ("after") each step's effect; the fault tests kill the controller in it."""


async def no_hook(step: Step, moment: str) -> None:
    """The hook of a controller that is not being tested."""
