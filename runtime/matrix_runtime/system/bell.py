"""Tells those who wait that something has changed."""

from __future__ import annotations

import asyncio


class Bell:
    """Rung for all who wait at that moment."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.rings = 0
        """How often it has rung: who compares misses none while doing something else."""

    def ring(self) -> None:
        """Wakes everyone who waits."""
        self.rings += 1
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        """Whether it rang within that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        return True
