"""How far an operator is, heard from a watch: to look again and again would cost the API server more than the operator does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.follow import Follower
from matrix_store.port import Raw


class Progress:
    """A Sink: which objects are Ready, and which generation of each its status has seen."""

    def __init__(self) -> None:
        self.ready: set[str] = set()
        """By uid."""
        self.observed: dict[str, int] = {}
        self.versions = 0
        """Changes heard of: a status that is written twice is counted twice."""
        self._changed = asyncio.Event()

    def listed(self, items: list[Raw], version: int) -> None:
        for item in items:
            self.present(item)

    def present(self, raw: Raw) -> None:
        uid, status = str(raw["metadata"]["uid"]), raw.get("status") or {}
        self.observed[uid] = int(status.get("observedGeneration") or 0)
        self.versions += 1
        (self.ready.add if _is_ready(status) else self.ready.discard)(uid)
        self._changed.set()

    def absent(self, raw: Raw) -> None:
        self.ready.discard(str(raw["metadata"]["uid"]))

    def has_seen(self, edited: Raw) -> bool:
        """Whether the status is of that generation."""
        metadata = edited["metadata"]
        return self.observed[str(metadata["uid"])] == int(metadata["generation"])

    async def until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def following(api: Api, paths: Iterable[str]) -> AsyncIterator[Progress]:
    """Of these collections."""
    progress = Progress()
    tasks = [asyncio.create_task(Follower(api, path, progress).run()) for path in paths]
    try:
        yield progress
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _is_ready(status: dict[str, Any]) -> bool:
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions") or ())
