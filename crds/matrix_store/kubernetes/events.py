"""Events as Kubernetes keeps them (`kubectl events`, `describe`): one object for all that say the same, with a count.

The server forgets an event one hour after its last change (kube-apiserver --event-ttl). Events are written behind the back of whoever
records them: work does not wait for what is only told about it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_store.errors import Conflict, NotFound, StoreError, Unavailable
from matrix_store.kubernetes import paths
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.faults import AlreadyThere, NamespaceGoing
from matrix_store.port import Event, EventType, Raw

MESSAGE_BYTES = 1024
"""The API server's limit for an event's message."""
REMEMBERED = 10_000
"""How many events' counts are kept in memory, so that counting one needs no look at it."""
COMPONENT = "matrix-operator"
WAITING = 10_000
"""Events that may wait to be written: more are dropped, and the log says so."""
FLUSH_SECONDS = 5.0
AGAIN_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
"""How long one event is tried to be stored while nothing can be written."""

log = logging.getLogger(__name__)


class Events:
    """Writes and reads them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(WAITING)
        self._writer: asyncio.Task[None] | None = None
        """One, so that events are stored in the order in which they happened."""
        self._held_up = False
        """The last try found that nothing can be written now."""

    def record(self, event: Event) -> None:
        """Store an event soon, or count it to the one that says the same. Dropped in a namespace that is being deleted, and when the
        server does not take it."""
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("%s: an event is not stored, too many wait: %s", event.key, event.message)

    async def flush(self) -> None:
        """Returns when all that was recorded is stored, or after FLUSH_SECONDS; at once while nothing can be stored."""
        if self._held_up:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._waiting.join()

    async def close(self) -> None:
        await self.flush()
        if left := self._waiting.qsize() + self._held_up:  # one is being tried
            log.warning("%d events are not stored", left)
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._writer = None

    async def list(self, key: ObjectKey | None, namespace: str | None) -> Sequence[Event]:
        """Oldest first, by when it last happened; what was recorded here before is among them."""
        await self.flush()
        about = {"involvedObject.apiVersion": API_VERSION}
        if key is not None:
            about |= {"involvedObject.kind": key.kind, "involvedObject.name": key.name}
            namespace = key.namespace
        selector = ",".join(f"{field}={value}" for field, value in about.items())
        items, _ = await self._api.list_all(paths.events(namespace), fieldSelector=selector)
        found = [(event, str(raw["metadata"]["creationTimestamp"])) for raw in items if (event := _event(raw)) is not None]
        return [event for event, _ in sorted(found, key=lambda pair: (pair[0].last, pair[1]))]

    async def _write_all(self) -> None:
        while True:
            event = await self._waiting.get()
            try:
                await self._store(event)
            finally:
                self._waiting.task_done()

    async def _store(self, event: Event) -> None:
        """A server that is away, and a lease that can't be proven, are waited out: the others wait behind it."""
        name = _name(event)
        place = (event.key.namespace, name)
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with suppress(NamespaceGoing):
                    self._remember(place, await self._write(event, name, self._counts.get(place)))
                self._held_up = False
                return
            except StoreError as error:
                self._held_up = isinstance(error, Unavailable)
                if not self._held_up or time.monotonic() >= until:
                    log.warning("%s: an event is not stored (%s): %s", event.key, error, event.message)
                    return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _write(self, event: Event, name: str, known: int | None) -> int:
        """The count after it."""
        if known is None:
            try:
                await self._api.create(paths.events(event.key.namespace), _body(event, name))
                return event.count
            except AlreadyThere:
                known = await self._stored_count(event.key.namespace, name)
        try:
            count = known + event.count
            await self._api.merge(f"{paths.events(event.key.namespace)}/{name}", {"count": count, "lastTimestamp": _text(event.last)})
            return count
        except NotFound:  # forgotten by the server meanwhile: it begins anew
            with suppress(Conflict):
                await self._api.create(paths.events(event.key.namespace), _body(event, name))
            return event.count

    async def _stored_count(self, namespace: str, name: str) -> int:
        with suppress(NotFound):
            return int((await self._api.get(f"{paths.events(namespace)}/{name}")).get("count") or 1)
        return 0

    def _remember(self, place: tuple[str, str], count: int) -> None:
        self._counts[place] = count
        self._counts.move_to_end(place)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)


def _name(event: Event) -> str:
    """The same for all that say the same of the same object."""
    said = "\0".join((event.uid, event.type, event.reason, event.message))
    return f"{event.key.name}.{hashlib.sha256(said.encode(errors='replace')).hexdigest()[:16]}"


def _body(event: Event, name: str) -> Raw:
    key = event.key
    involved = {"apiVersion": API_VERSION, "kind": key.kind, "namespace": key.namespace, "name": key.name, "uid": event.uid}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": key.namespace},
        "involvedObject": involved,
        "type": event.type.value,
        "reason": event.reason,
        "message": event.message.encode(errors="replace")[:MESSAGE_BYTES].decode(errors="ignore"),
        "firstTimestamp": _text(event.first),
        "lastTimestamp": _text(event.last),
        "count": event.count,
        "source": {"component": COMPONENT},
    }


def _event(raw: Raw) -> Event | None:
    """None for what others wrote about our objects in the newer form, without times of this one's kind."""
    about = raw["involvedObject"]
    first, last = raw.get("firstTimestamp"), raw.get("lastTimestamp")
    if not first or not last or raw.get("type") not in tuple(EventType):
        return None
    key = ObjectKey(about["kind"], about["namespace"], about["name"])
    reason, message, count = raw.get("reason", ""), raw.get("message", ""), raw.get("count") or 1
    times = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return Event(key, about.get("uid", ""), EventType(raw["type"]), reason, message, *times, count)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
