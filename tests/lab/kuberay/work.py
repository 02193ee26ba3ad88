"""A queue of keys to look at: each by one worker at a time, however often it is added."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tests.lab.kuberay.client import UNREACHABLE, Key, Refused

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2


class Work:
    """Calls `look` for each key that is added; it says after how many seconds to look again by itself, or None."""

    def __init__(self, look: Callable[[Key], Awaitable[float | None]], workers: int = 24) -> None:
        self._look = look
        self._workers = workers
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._busy: set[Key] = set()
        self._later: dict[Key, asyncio.TimerHandle] = {}

    def add(self, key: Key) -> None:
        """Have it looked at soon."""
        timer = self._later.pop(key, None)
        if timer:
            timer.cancel()
        if key not in self._queued:
            self._queued.add(key)
            if key not in self._busy:
                self._ready.put_nowait(key)

    async def run(self) -> None:
        """Until cancelled. What `look` raises but for a call that failed ends it."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._busy.add(key)
            again = await self._try(key)
            self._busy.discard(key)
            if key in self._queued:
                self._ready.put_nowait(key)
            elif again is not None:
                self._later[key] = asyncio.get_running_loop().call_later(again, self.add, key)

    async def _try(self, key: Key) -> float | None:
        try:
            return await self._look(key)
        except (Refused, *UNREACHABLE) as error:
            log.info("%s/%s: %s", *key, error)
            return _RETRY_SECONDS
