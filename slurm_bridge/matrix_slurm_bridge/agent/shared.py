"""Calls that wait for the shared file system: in threads of their own, with a deadline. A server that is away blocks a thread for as long
as it is away, and must block nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from matrix_slurm_bridge.agent.errors import Unusable

DEADLINE_SECONDS = 20.0
_THREADS = 8
P = ParamSpec("P")
T = TypeVar("T")


class SharedFiles:
    """Runs them."""

    def __init__(self, deadline: float = DEADLINE_SECONDS) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "shared-files")
        self._deadline = deadline

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises what it raises, and Unusable when it takes too long: it may still be carried out."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
        try:
            async with asyncio.timeout(self._deadline):
                return await future
        except TimeoutError as error:
            raise Unusable(f"the shared directory has not answered within {self._deadline:g} s: look at its file server") from error

    def close(self) -> None:
        """Does not wait for a file server that is away."""
        self._threads.shutdown(wait=False, cancel_futures=True)
