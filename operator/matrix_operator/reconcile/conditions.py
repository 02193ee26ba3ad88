"""Conditions and the events that tell of their changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from matrix_crds.base import Condition, ConditionStatus

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
MESSAGE_LIMIT = 4000


@dataclass(frozen=True)
class Verdict:
    """What a decision says of one condition."""

    type: StrEnum
    status: ConditionStatus
    reason: StrEnum
    message: str = ""

    @property
    def is_true(self) -> bool:
        return self.status is TRUE


def sum_up(ready: StrEnum, ready_reason: StrEnum, parts: Iterable[Verdict], message: str = "") -> Verdict:
    """Ready is the first part that is not True (parts come in the order in which they depend on each other), or True."""
    for part in parts:
        if not part.is_true:
            return Verdict(ready, part.status, part.reason, part.message)
    return Verdict(ready, TRUE, ready_reason, message)


def merge(previous: tuple[Condition, ...], verdicts: Iterable[Verdict], generation: int, now: datetime) -> tuple[Condition, ...]:
    """The new conditions. `lastTransitionTime` moves only when the status does."""
    before = {condition.type: condition for condition in previous}
    return tuple(_condition(verdict, before.get(str(verdict.type)), generation, now) for verdict in verdicts)


def _condition(verdict: Verdict, before: Condition | None, generation: int, now: datetime) -> Condition:
    same = before is not None and before.status == verdict.status and before.last_transition_time is not None
    return Condition(
        type=str(verdict.type),
        status=verdict.status,
        reason=str(verdict.reason),
        message=verdict.message[:MESSAGE_LIMIT],
        last_transition_time=before.last_transition_time if same and before else now.replace(microsecond=0),
        observed_generation=generation,
    )


def transitions(previous: tuple[Condition, ...], current: tuple[Condition, ...]) -> Iterator[Condition]:
    """The conditions whose status or reason is another than before: one event each."""
    before = {condition.type: (condition.status, condition.reason) for condition in previous}
    for condition in current:
        if before.get(condition.type) != (condition.status, condition.reason):
            yield condition
