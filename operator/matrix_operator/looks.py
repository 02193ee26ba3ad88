"""The three answers of every look at the outside. Unknown is not gone: nothing is deleted, replaced or reported gone on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")


@dataclass(frozen=True)
class Present(Generic[State]):
    state: State


@dataclass(frozen=True)
class Absent:
    """A positive answer: it is not there."""


@dataclass(frozen=True)
class Unknown:
    """The look failed: a time-out, an HTTP 5xx, an answer that makes no sense. `message` says what was asked and what came, in words."""

    message: str


Look = Present[State] | Absent | Unknown
