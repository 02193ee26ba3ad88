"""Writing a status: whole, only when it changed, with an event for each transition of a condition that a person would miss.

Ready sums the others up, so most of what they do is told by its own events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from pydantic.alias_generators import to_camel

from matrix_crds.base import Condition, ConditionStatus, Status
from matrix_crds.cluster import ClusterCondition
from matrix_crds.reasons import ClusterReason
from matrix_operator.reconcile.cache import ObjectCache
from matrix_operator.reconcile.conditions import FALSE, TRUE, UNKNOWN, Verdict, merge, transitions
from matrix_operator.reconcile.reading import readable_status, section
from matrix_store.port import Event, EventType, Raw, Store, StoredObject

log = logging.getLogger(__name__)

AnyStatus = TypeVar("AnyStatus", bound=Status)

EVENT_LENGTH = 1000
READY = "Ready"
QUIET = frozenset(
    {"Pending", "Starting", "Downloading", "Converting", "Loading", "RollingOut", "ScaledToZero", "Suspended", "Deleting"}
    | {"HeadNotReady", "WorkersNotReady", "ServeNotReady", "GatewayNotReady", "ClusterNotReady"}
)
"""Reasons that are a part of normal life: their events are no warnings."""


def is_told(condition: Condition, before: Status, after: Status) -> bool:
    """Whether an event tells of this transition. Always for Ready (but for an ordinary beginning: that there is an object now, nobody
    misses), for what was so and is not any more, and for what is out of the ordinary; of the steps of an ordinary start only those by
    which Ready does not come about itself."""
    former, ready = before.condition(condition.type), after.condition(READY)
    if condition.type == READY:
        return former is not None or condition.reason not in QUIET
    if condition.status is TRUE:
        return former is not None and (ready is None or ready.status is not TRUE)
    return condition.reason not in QUIET or (former is not None and former.status is TRUE)


class StatusWriter:
    """The only one that writes a status. `clock` is UTC."""

    def __init__(self, store: Store, cache: ObjectCache, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock

    async def write(self, stored: StoredObject, before: AnyStatus, after: AnyStatus) -> AnyStatus:
        """Returns the status that stands: the former one if nothing has changed. Raises Conflict if the object has changed since it was
        read."""
        if before == after:
            return before
        await self._write(stored, before, after, after.to_wire())
        return after

    async def write_unable(self, stored: StoredObject, why: str) -> None:
        """Say that the object does not parse, or asks for what this engine has not: nothing else happens to it. Raises Conflict."""
        before = readable_status(stored)
        ready = self._ready(stored, before, FALSE, ClusterReason.INVALID_SPEC, why)
        await self._lay_over(stored, before, observed_generation=stored.generation, summary=_first_line(why), conditions=ready)

    async def write_bug(self, stored: StoredObject, error: Exception) -> None:
        """Say that the controller itself is at fault. Never raises: the loop must live on."""
        why = f"a bug in the controller: {type(error).__name__}: {error}; the trace is in `matrix logs controller`"
        try:
            before = readable_status(stored)
            ready = self._ready(stored, before, UNKNOWN, ClusterReason.INTERNAL_ERROR, why)
            others = tuple(item for item in before.conditions if item.type != READY)
            await self._lay_over(stored, before, summary=_first_line(why), conditions=(*ready, *others))
        except Exception:
            log.exception("could not write the status of %s", stored.key)

    def _ready(
        self, stored: StoredObject, before: Status, status: ConditionStatus, reason: ClusterReason, why: str
    ) -> tuple[Condition, ...]:
        """Ready alone, in words that all kinds share."""
        return merge(before.conditions, (Verdict(ClusterCondition.READY, status, reason, why),), stored.generation, self._clock())

    async def _lay_over(self, stored: StoredObject, before: Status, **fields: Any) -> None:
        """Change these alone. What else there is stays as it is stored, whether or not this version can read it."""
        after = before.model_copy(update=fields)
        if before != after:
            wire = after.to_wire()
            changed = {name: wire[name] for name in map(to_camel, fields)}
            await self._write(stored, before, after, section(stored.raw, "status") | changed)

    async def _write(self, stored: StoredObject, before: Status, after: Status, wire: Raw) -> None:
        self._cache.wrote(await self._store.write_status(stored.key, wire, resource_version=stored.resource_version))
        for condition in transitions(before.conditions, after.conditions):
            if is_told(condition, before, after):
                await self._record(stored, condition)

    async def _record(self, stored: StoredObject, condition: Condition) -> None:
        type_ = EventType.NORMAL if condition.status is TRUE or condition.reason in QUIET else EventType.WARNING
        text = f"{condition.type}={condition.status}" + (f": {condition.message}" if condition.message else "")
        log.info("%s: %s (%s)", stored.key, text.splitlines()[0], condition.reason)
        now = self._clock()
        await self._store.record(Event(stored.key, stored.uid, type_, condition.reason, text[:EVENT_LENGTH], now, now))


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
