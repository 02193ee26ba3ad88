"""Following objects on the API server: list, then watch from there, and again from the list when the thread is lost.

What was told is remembered, so after a gap (the server was down, or has forgotten) the list is compared with it: what has gone meanwhile
is told as Deleted, although no DELETED ever arrived. A watch that falls silent without an error (a proxy that forgot it) is ended
by its own clock: the server is asked to end it after WATCH_SECONDS, and if it does not, the client does GRACE_SECONDS later.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping

import httpx2

from matrix_store.errors import StoreError
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import CONNECT_SECONDS
from matrix_store.kubernetes.faults import TooOld, refusal, refusal_of, unreachable
from matrix_store.kubernetes.known import Known
from matrix_store.kubernetes.manifests import stored, stored_items
from matrix_store.port import Change, ChangeType, Raw

log = logging.getLogger(__name__)

WATCH_SECONDS = 60.0
GRACE_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
"""Between two tries to reach a server that does not answer: it wants to be found soon after it is back."""


class Watch:
    """One reader of some kinds, each followed by a task of its own."""

    def __init__(self, api: Api, collections: Mapping[str, str], seconds: float = WATCH_SECONDS, grace: float = GRACE_SECONDS) -> None:
        """`collections`: the path of each kind."""
        self._api = api
        self._collections = collections
        self.seconds = seconds
        self.grace = grace
        self._told: asyncio.Queue[Change | Exception | None] = asyncio.Queue()
        self._unsynced = set(collections)

    async def changes(self) -> AsyncIterator[Change]:
        """As Store.watch. An error before everything that exists was told is raised; later ones are waited out and logged."""
        tasks = [asyncio.create_task(_Follower(self, self._api, kind, path).run()) for kind, path in self._collections.items()]
        try:
            while (told := await self._told.get()) is not None:
                if isinstance(told, Exception):
                    raise told
                yield told
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """End the iteration."""
        self._told.put_nowait(None)

    def tell(self, change: Change) -> None:
        self._told.put_nowait(change)

    def synced(self, kind: str) -> None:
        """All that there was of a kind has been told."""
        if kind in self._unsynced:
            self._unsynced.discard(kind)
            if not self._unsynced:
                self.tell(Change(ChangeType.SYNCED))

    def fail(self, error: Exception) -> None:
        """End the iteration with an error."""
        self._told.put_nowait(error)

    def is_synced(self, kind: str) -> bool:
        return kind not in self._unsynced


class _Follower:
    """One kind: what was told of it, and how far."""

    def __init__(self, watch: Watch, api: Api, kind: str, path: str) -> None:
        self._watch = watch
        self._api = api
        self._kind = kind
        self._path = path
        self._known = Known()
        self._version = ""
        """From where to watch on; empty: from a list."""

    async def run(self) -> None:
        """Until cancelled; tells the reader what it can't wait out."""
        try:
            await self._run()
        except Exception as error:
            self._watch.fail(error)

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                if not self._version:
                    await self._relist()
                await self._follow()
                pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)  # whatever ends each watch at once must not be asked without a break
            except TooOld:
                self._version = ""
            except StoreError as error:
                if not self._watch.is_synced(self._kind):  # nothing can be done before everything was heard of once
                    raise
                log.warning("watching %s: %s; again in %.1f s", self._path, error, pause)
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _relist(self) -> None:
        items, version = await self._api.list_all(self._path)
        self._tell(self._known.listed(self._kind, stored_items(self._kind, items), int(version)))
        self._version = version
        self._watch.synced(self._kind)

    async def _follow(self) -> None:
        """Until the server ends the watch, as it was asked to."""
        params = {
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(self._watch.seconds * random.uniform(0.8, 1.0)))),
        }
        longest = self._watch.seconds + self._watch.grace
        request = self._api.http.stream("GET", self._path, params=params, timeout=httpx2.Timeout(longest, connect=CONNECT_SECONDS))
        try:
            async with asyncio.timeout(longest), request as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise refusal(answer)
                async for line in answer.aiter_lines():
                    self._take(_event(line))
        except (httpx2.HTTPError, OSError, TimeoutError, ValueError) as error:
            raise unreachable(error, self._api.server) from error

    def _take(self, event: Raw) -> None:
        raw = event["object"]
        if event["type"] == "ERROR":
            raise refusal_of(raw, int(raw.get("code") or 500), self._path)
        self._version = str(raw["metadata"]["resourceVersion"])
        if event["type"] == "BOOKMARK":
            return
        item = stored(raw)
        self._tell(self._known.absent(item.key, item.uid) if event["type"] == "DELETED" else self._known.present(item))

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            self._watch.tell(change)


def _event(line: str) -> Raw:
    """One line of a watch. Raises ValueError when it is something else."""
    event = json.loads(line)
    if not isinstance(event, dict) or "type" not in event or not isinstance(event.get("object"), dict):
        raise ValueError("a watch answered with something that is no event")
    return event
