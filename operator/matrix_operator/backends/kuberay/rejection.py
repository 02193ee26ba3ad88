"""Whether KubeRay refuses the RayCluster. Pure.

Without its webhook the API server takes any spec, and KubeRay then only posts an event: the status stays as it was, or empty. Nothing in
the status tells it from a change that is being worked on, since observedGeneration is written with other changes only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.reading import at, created, items, moment

REASONS = ("InvalidRayClusterSpec", "InvalidRayClusterMetadata")
_WARNING = "RayCluster spec warning"
"""So begins an event of the same reason about a spec that is carried out nevertheless."""


def rejection(live: Object, events: Iterable[Object]) -> str | None:
    """KubeRay's words, or None. What it said of an earlier spec does not count, nor what it said before it took the spec as it is now."""
    generation = live["metadata"].get("generation")
    if generation is not None and at(live, "status", "observedGeneration") == generation:
        return None
    written = _spec_written(live)
    refusals = [event for event in events if _refuses(event, live["metadata"]["uid"]) and last_seen(event) >= written]
    return _words(max(refusals, key=last_seen), live) if refusals else None


def _refuses(event: Object, uid: str) -> bool:
    about = event.get("involvedObject") or event.get("regarding") or {}
    return event.get("reason") in REASONS and about.get("uid") == uid and not _text(event).startswith(_WARNING)


def _text(event: Object) -> str:
    """v1.Event has `message`, events.k8s.io/v1 has `note`."""
    return str(event.get("message") or event.get("note") or "")


def last_seen(event: Object) -> datetime:
    """When it happened last: a repeated one is counted in place."""
    times = (
        at(event, "series", "lastObservedTime"),
        event.get("lastTimestamp") or event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
    )
    return next((at_ for at_ in map(moment, times) if at_), created(event))


def _spec_written(live: Object) -> datetime:
    """When somebody wrote the spec last, in whole seconds."""
    writes = [entry for entry in items(live, "metadata", "managedFields") if "f:spec" in (entry.get("fieldsV1") or {})]
    times = [time for time in (moment(entry.get("time")) for entry in writes) if time]
    return max(times, default=created(live))


def _words(event: Object, live: Object) -> str:
    """Without the names that it begins with: they are said already."""
    metadata = live["metadata"]
    text = _text(event)
    return text.partition(f"{metadata.get('namespace')}/{metadata['name']}: ")[2] or text
