"""The start of a replica: engine and model are made ready side by side, since both take long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from matrix_proto.state import StartPhase
from matrix_runtime.serving.channel import Ready
from matrix_runtime.sources.port import Report

First = TypeVar("First")
Second = TypeVar("Second")

Resolve = Callable[[Report], Coroutine[Any, Any, Path | None]]


class Host(Protocol):
    """The part of HostProcess that a start needs."""

    async def checked(self) -> None:
        """Until the engine has accepted its arguments."""
        ...

    async def load(self, model: str | None) -> Ready:
        """Loads the model; where its servers are."""
        ...


async def bring_up(host: Host, resolve: Resolve, report: Report) -> Ready:
    """Where the replica's servers are, once they answer. While the engine is imported and checks its arguments, the model is resolved;
    whichever fails first ends both. Raises StartFailed."""
    preparing = StartPhase.PREPARING, "importing the engine and checking its arguments", None

    async def resolved() -> Path | None:
        model = await resolve(report)
        report(*preparing)
        return model

    report(*preparing)
    _, model = await both(host.checked(), resolved())
    report(StartPhase.LOADING, "loading the model into the engine", None)
    return await host.load(str(model) if model else None)


async def both(first: Coroutine[Any, Any, First], second: Coroutine[Any, Any, Second]) -> tuple[First, Second]:
    """Both results; the first error cancels the other and is raised when that has ended."""
    tasks = asyncio.create_task(first), asyncio.create_task(second)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return tasks[0].result(), tasks[1].result()
