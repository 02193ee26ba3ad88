"""What a look at something found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

GIB = 2**30


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line."""

    subject: str
    state: State
    fact: str
    remedy: str = ""
    """What to do; "" when nothing needs doing."""


def ok(subject: str, fact: str) -> Finding:
    return Finding(subject, State.OK, fact)


def warning(subject: str, fact: str, remedy: str) -> Finding:
    return Finding(subject, State.WARNING, fact, remedy)


def problem(subject: str, fact: str, remedy: str) -> Finding:
    return Finding(subject, State.PROBLEM, fact, remedy)


def gib(size: float) -> str:
    """A size for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.0f} MiB"
