"""The work queue: keyed, so that one object is never worked on twice at once, with due times and backoff."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from matrix_crds.keys import ObjectKey

FIRST_BACKOFF_SECONDS = 0.5
LAST_BACKOFF_SECONDS = 60.0
FIRST_AFTER_CONFLICT_SECONDS = 0.02
LAST_AFTER_CONFLICT_SECONDS = 2.0
"""The watch most often tells before that what was met; where it is silent, nothing is to be found sooner."""


@dataclass(order=True)
class _Entry:
    due: float
    key: ObjectKey = field(compare=False)


class WorkQueue:
    """Keys that want a look, each at its time. A key that is added while it is being worked on is handed out again afterwards.

    `clock` is monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], jitter: random.Random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._heap: list[_Entry] = []
        self._due: dict[ObjectKey, float] = {}
        self._working: dict[ObjectKey, float] = {}
        """With when the work on it began."""
        self._moved = clock()
        """When a key was last taken."""
        self._failures: Counter[ObjectKey] = Counter()
        self._conflicts: Counter[ObjectKey] = Counter()
        self._turn = asyncio.Lock()
        """Of the one worker that waits for what becomes due: else each change would wake all of them."""
        self._changed = asyncio.Event()

    def add(self, key: ObjectKey, after: float = 0.0) -> None:
        """Ask for a look at `key` in `after` seconds, or at the time asked for before if that is sooner."""
        due = self._clock() + after
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._heap, _Entry(due, key))
        self._changed.set()

    def add_after_failure(self, key: ObjectKey) -> float:
        """Ask for another look with exponential backoff and jitter; returns the delay in seconds."""
        return self._add_again(key, self._failures, FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS)

    def add_after_conflict(self, key: ObjectKey) -> float:
        """The same for an object that was not as it was thought to be: at once, but not again and again."""
        return self._add_again(key, self._conflicts, FIRST_AFTER_CONFLICT_SECONDS, LAST_AFTER_CONFLICT_SECONDS)

    def _add_again(self, key: ObjectKey, counts: Counter[ObjectKey], first: float, last: float) -> float:
        delay = min(last, first * 2.0 ** min(counts[key], 20)) * self._jitter.uniform(0.8, 1.2)
        counts[key] += 1
        self.add(key, delay)
        return delay

    def succeeded(self, key: ObjectKey) -> None:
        """The next failure, or conflict, starts from the first backoff again."""
        self._failures.pop(key, None)
        self._conflicts.pop(key, None)

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self.succeeded(key)
        self._due.pop(key, None)

    async def get(self) -> ObjectKey:
        """The next due key that nobody works on; marked as being worked on until `done`."""
        async with self._turn:
            while True:
                self._changed.clear()
                key, wait = self._pop_due()
                if key is not None:
                    return key
                with suppress(TimeoutError):
                    # Not asyncio.wait_for: before Python 3.12 it swallows a cancellation that comes together with the result.
                    async with asyncio.timeout(wait):
                        await self._changed.wait()

    def done(self, key: ObjectKey) -> None:
        """The work on `key` has ended."""
        self._working.pop(key, None)
        if key in self._due:
            heapq.heappush(self._heap, _Entry(self._due[key], key))
        self._changed.set()

    def __len__(self) -> int:
        """Keys that are due now and wait for a worker."""
        now = self._clock()
        return sum(1 for due in self._due.values() if due <= now)

    @property
    def idle(self) -> bool:
        """Nothing is being worked on, and nothing is due."""
        return not self._working and len(self) == 0

    @property
    def longest(self) -> float:
        """Seconds for which the work that began first has lasted; 0 if there is none."""
        return self._clock() - min(self._working.values()) if self._working else 0.0

    @property
    def stalled(self) -> float:
        """Seconds for which keys have been due that nobody works on, and none was taken; 0 if there are none."""
        now = self._clock()
        due = [due for key, due in self._due.items() if due <= now and key not in self._working]
        return now - max(min(due), self._moved) if due else 0.0

    def _pop_due(self) -> tuple[ObjectKey | None, float | None]:
        now = self._clock()
        while self._heap:
            entry = self._heap[0]
            current = self._due.get(entry.key)
            if current != entry.due or entry.key in self._working:
                heapq.heappop(self._heap)  # superseded; or pushed again by done()
                continue
            if entry.due > now:
                return None, entry.due - now
            heapq.heappop(self._heap)
            del self._due[entry.key]
            self._working[entry.key] = self._moved = now
            return entry.key, None
        return None, None
