"""Requests of a model that has no replica up: held until one comes, with a deadline, in the order of their coming."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Protocol

from matrix_proto.errors import ErrorReason
from matrix_runtime.gateway import limits
from matrix_runtime.gateway.refusals import Refusal
from matrix_runtime.gateway.settings import ServedModel

LOOK_SECONDS = 0.5
"""Between two tries when nothing was heard: HAProxy may have found a replica dead that the directory believes in, or well again."""


class Board(Protocol):
    """What is known about models and replicas."""

    def model(self, name: str) -> ServedModel | None:
        """The declared model of that name."""
        ...

    def names(self) -> list[str]:
        """Of all declared models."""
        ...

    def backend(self, name: str) -> str | None:
        """The backend of a declared model."""
        ...

    def up(self, application: str) -> bool:
        """Whether a replica is ready."""
        ...

    async def news(self, seconds: float) -> None:
        """Returns when something has changed, or after so long."""
        ...

    async def describe(self, application: str) -> str:
        """What is being waited for, in words."""
        ...


class WaitingRoom:
    """Counts who waits for which model, and tells who has waited in vain."""

    def __init__(self, board: Board, clock: Callable[[], float] = time.monotonic, most: int = limits.WAITING_REQUESTS) -> None:
        self._board = board
        self._clock = clock
        self._most = most
        self._waiting: dict[str, list[object]] = {}
        self.waited_seconds: dict[str, float] = {}
        """By model: all the time that requests have waited."""

    def count(self, name: str) -> int:
        """Requests that wait for the model now."""
        return len(self._waiting.get(name, ()))

    @contextmanager
    def place(self, name: str) -> Iterator[object]:
        """A place in the queue of a model."""
        place, queue, since = object(), self._waiting.setdefault(name, []), self._clock()
        queue.append(place)
        try:
            yield place
        finally:
            queue.remove(place)
            self.waited_seconds[name] = self.waited_seconds.get(name, 0.0) + self._clock() - since

    @property
    def full(self) -> bool:
        """Whether nobody else may wait."""
        return sum(map(len, self._waiting.values())) >= self._most

    async def until_up(self, model: ServedModel, place: object, deadline: float) -> Refusal | None:
        """Waits for a replica. None: there is one. Otherwise what to tell the caller."""
        while not self._board.up(model.application):
            left = deadline - self._clock()
            if model.replicas == 0:
                return scaled_to_zero(model.name)
            if left <= 0:
                return await self.in_vain(model, place)
            await self._board.news(min(left, LOOK_SECONDS))
            declared = self._board.model(model.name)
            if declared is None:
                return unknown_model(model.name, self._board.names())
            model = declared
        return None

    async def in_vain(self, model: ServedModel, place: object) -> Refusal:
        """The words for a request whose deadline is over."""
        queue = self._waiting.get(model.name, [])
        position = queue.index(place) + 1 if place in queue else 1
        reason = await self._board.describe(model.application)
        text = f"no replica of {model.name!r} is ready: {reason} (number {position} of {len(queue)} that wait); ask again"
        return Refusal(ErrorReason.NOT_READY, text, retry_after="5")


def scaled_to_zero(name: str) -> Refusal:
    """A model that is declared with no replicas."""
    text = f"the model {name!r} is scaled to zero: `matrix scale mxd/NAME --replicas 1` starts a replica"
    return Refusal(ErrorReason.NOT_READY, text, retry_after="60")


def unknown_model(name: str, names: list[str]) -> Refusal:
    """A name that no model has."""
    close = get_close_matches(name, names, n=1)
    there = f"did you mean {close[0]!r}? " if close else ""
    listed = f"there is {', '.join(names)}" if names else "nor any other"
    return Refusal(ErrorReason.UNKNOWN_MODEL, f"no model {name[:200]!r}; {there}{listed}")


def wait_seconds(header: str | None) -> float:
    """What a request asks for in x-matrix-wait-seconds, within bounds. Raises ValueError."""
    if header is None:
        return limits.WAIT_SECONDS
    seconds = float(header)
    if not seconds >= 0:
        raise ValueError(header)
    return min(seconds, limits.LONGEST_WAIT_SECONDS)
