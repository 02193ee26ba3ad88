"""Whether the operator is alive, and whether it is ready, in words.

Alive does not mean that the process answers: watches and workers may be dead while it does. So what has to move is looked at each second
in the event loop that everything runs in, and the answers are given from another thread: they come, and say so, even when that loop is
stuck. An API server that is away makes nobody dead, for however long: another process could do no better.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LOOK_SECONDS = 1.0

Check = Callable[[], str]
"""What is wrong, as a sentence; empty when all is well."""


@dataclass(frozen=True)
class Limits:
    """Seconds after which something that has not moved is stuck. Each is far above what the worst outside can cause."""

    loop: float = 30.0
    """Nothing here may block the event loop."""
    watch: float = 240.0
    """A watch lasts 60 s, is given up after 75 s, and begun again after a try of at most 30 s."""
    reconcile: float = 600.0
    """Each call in a reconcile has a deadline of 30 s or less, and there are some in a row."""


@dataclass
class Health:
    """What was found at the last look. `run` belongs to the event loop that is judged; the rest may be asked from any thread."""

    limits: Limits = field(default_factory=Limits)
    live: list[Check] = field(default_factory=list)
    ready: list[Check] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._looked = self.clock()
        self._dead: tuple[str, ...] = ()
        self._unready: tuple[str, ...] = ("it has only just started",)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Ask all checks."""
        self._looked = self.clock()
        self._dead = tuple(text for check in self.live if (text := check()))
        self._unready = tuple(text for check in self.ready if (text := check()))

    def dead(self) -> tuple[str, ...]:
        """Why it should be restarted; empty if it should not."""
        age = self.clock() - self._looked
        stuck = f"the event loop has been stuck for {age:.0f} s"
        return (stuck, *self._dead) if age > self.limits.loop else self._dead

    def unready(self) -> tuple[str, ...]:
        """Why it could not take over, or act, at once."""
        return (*self.dead(), *self._unready)


class Contact:
    """How long an API server has answered without a break. To be told of each call (matrix_store.kubernetes.api.CallHook)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def heard(self, method: str, code: str) -> None:
        """An answer of its own (not a proxy's, not an overload's) is contact; anything else is none."""
        if not code.isdigit() or int(code) >= 500 or code == "429":
            self._since = None
        elif self._since is None:
            self._since = self._clock()

    @property
    def seconds(self) -> float:
        """0 while it is away."""
        return 0.0 if self._since is None else self._clock() - self._since


def moves(what: str, seconds: Callable[[], float], limit: float) -> Check:
    """Fails when something has not moved for longer than `limit` seconds. `what` is a sentence up to the number of seconds."""

    def check() -> str:
        still = seconds()
        return f"{what} for {still:.0f} s" if still > limit else ""

    return check


def hears(what: str, silence: Callable[[], float], contact: Contact, limit: float) -> Check:
    """Fails when a watch is silent for longer than `limit` seconds, during all of which the API server answered other calls."""

    def check() -> str:
        silent = min(silence(), contact.seconds)
        return f"{what} has heard nothing for {silent:.0f} s, although the API server answers" if silent > limit else ""

    return check


def holds(what: str, condition: Callable[[], bool]) -> Check:
    """Fails with `what` while the condition does not hold."""
    return lambda: "" if condition() else what
