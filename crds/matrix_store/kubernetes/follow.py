"""Following one collection of objects on the API server: list, then watch from there, and again from the list when the thread is lost.

A watch that falls silent without an error (a proxy that forgot it) is ended by its own clock: the server is asked to end it after
WATCH_SECONDS, and if it does not, the client does GRACE_SECONDS later.

While it could not be reached the server's store may have been restored from a backup. A watch from the version that we had is accepted
then, and says nothing of what happens until the new store has got that far (kubernetes/kubernetes#107457). So after an error the version
is compared first.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Protocol

import httpx2

from matrix_store.errors import StoreError
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.faults import KindUnknown, TooOld, refusal_of, unreachable
from matrix_store.port import Raw
from matrix_store.wire import loads

log = logging.getLogger(__name__)

WATCH_SECONDS = 60.0
GRACE_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
"""Between two tries to reach a server that does not answer: it wants to be found soon after it is back."""


class Sink(Protocol):
    """Who is told. What a list does not name is gone, though no DELETED may ever have arrived: the sink compares."""

    def listed(self, items: list[Raw], version: int) -> None:
        """All there is, at that version of the store."""

    def present(self, raw: Raw) -> None: ...

    def absent(self, raw: Raw) -> None:
        """It was deleted, or has left what the selectors choose; its last state."""


class Follower:
    """One collection: what was told of it, and how far."""

    def __init__(
        self,
        api: Api,
        path: str,
        sink: Sink,
        selectors: Mapping[str, str] | None = None,
        seconds: float = WATCH_SECONDS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        """`selectors`: labelSelector and fieldSelector, in the form of a query."""
        self.synced = asyncio.Event()
        """Set when everything that exists was told once."""
        self.unknown = False
        """The server does not know the kind (any more): its CRD was deleted."""
        self._api = api
        self._path = path
        self._sink = sink
        self._selectors = dict(selectors or {})
        self._seconds = seconds
        self._grace = grace
        self._version = ""
        """From where to watch on; empty: from a list."""
        self._doubted = False
        """The server may be behind `_version` by now."""
        self._heard = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the server said anything: at rest it is less than WATCH_SECONDS and a little."""
        return time.monotonic() - self._heard

    async def run(self) -> None:
        """Until cancelled. Raises StoreError while nothing was told yet: nobody can do anything before; later ones are waited out."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                if self._doubted and self._version and await self._api.version(self._path) < int(self._version):
                    self._version = ""
                self._doubted = False
                if not self._version:
                    await self._relist()
                await self._follow()
                pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)  # whatever ends each watch at once must not be asked without a break
            except TooOld:
                self._version = ""
            except StoreError as error:
                if not self.synced.is_set():
                    raise
                self._doubted = True
                if isinstance(error, KindUnknown):  # versions mean nothing to a CRD that is made anew
                    self.unknown, self._version = True, ""
                log.warning("watching %s: %s; again in %.1f s", self._path, error, pause)
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _relist(self) -> None:
        items, version = await self._api.list_all(self._path, **self._selectors)
        self._heard = time.monotonic()
        self._sink.listed(items, int(version))
        self._version = version
        self.unknown = False
        self.synced.set()

    async def _follow(self) -> None:
        """Until the server ends the watch, as it was asked to."""
        params = {
            **self._selectors,
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(self._seconds * random.uniform(0.8, 1.0)))),
        }
        longest = self._seconds + self._grace
        try:
            async with asyncio.timeout(longest), aclosing(self._api.lines(self._path, params, longest)) as lines:
                async for line in lines:
                    self._take(_event(line))
            self._heard = time.monotonic()
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise unreachable(error, self._api.server) from error

    def _take(self, event: Raw) -> None:
        raw = event["object"]
        if event["type"] == "ERROR":
            raise refusal_of(raw, int(raw.get("code") or 500), self._path)
        self._heard = time.monotonic()
        self._version = str(raw["metadata"]["resourceVersion"])
        if event["type"] == "BOOKMARK":
            return
        (self._sink.absent if event["type"] == "DELETED" else self._sink.present)(raw)


def _event(line: bytes) -> Raw:
    """One line of a watch. Raises ValueError when it is something else."""
    event = loads(line)
    if not isinstance(event, dict) or "type" not in event or not isinstance(event.get("object"), dict):
        raise ValueError("a watch answered with something that is no event")
    return event
