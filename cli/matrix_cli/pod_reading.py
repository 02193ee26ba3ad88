"""Printing the logs of pods: once, or for as long as somebody looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import click

from matrix_cli.pod_logs import PodLogs
from matrix_cli.pod_sources import Output, Source
from matrix_store.errors import Forbidden, NotFound, StoreError
from matrix_store.port import Raw

MOST_OUTPUTS = 20
"""Containers that are followed at once: each takes one of the connections (matrix_store.kubernetes.connection.CONNECTIONS)."""
PODS = "pods"


@dataclass(frozen=True)
class Pace:
    """In seconds."""

    outputs: float = 3.0
    """Between two looks for containers that came."""
    files: float = 15.0
    """Between two looks for files that came: each runs a program in every pod."""
    again: float = 0.5
    """Until a source that ended is opened again; twice as long after each time, up to `longest`, until one stayed open for so long."""
    longest: float = 5.0


async def show(logs: PodLogs, previous: bool) -> None:
    """Print the last lines of each source. Raises StoreError when none came whole."""
    failed: list[tuple[Source, StoreError]] = []
    for source in logs.sources:
        try:
            await _print(logs, source, source.lines(logs.connection, logs.namespace, previous))
        except StoreError as error:
            failed.append((source, error))
    some = len(failed) < len(logs.sources)
    for source, problem in failed if some else failed[1:]:
        logs.tell_of(source, problem)
    if not some:
        raise failed[0][1]


async def follow(logs: PodLogs, pace: Pace | None = None) -> None:
    """Print the last lines of each source and those that come, also in pods that come later, until it is cancelled. Raises Forbidden where
    a right is missing for all of it."""
    await _Following(logs, pace or Pace()).run()


class _Following:
    def __init__(self, logs: PodLogs, pace: Pace) -> None:
        self._logs = logs
        self._pace = pace

    async def run(self) -> None:
        logs = self._logs
        try:
            async with asyncio.TaskGroup() as group:
                if logs.whole:
                    group.create_task(self._keep_up(group, lambda: logs.outputs, self._find_outputs, self._pace.outputs))
                group.create_task(self._keep_up(group, lambda: logs.files, self._find_files, self._pace.files))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None  # as if there were no tasks

    async def _keep_up(
        self, group: asyncio.TaskGroup, found: Callable[[], Sequence[Source]], find: Callable[[], Awaitable[None]], seconds: float
    ) -> None:
        """With the sources that come."""
        tasks: dict[Source, asyncio.Task[None]] = {}
        while True:
            tasks = {source: task for source, task in tasks.items() if not task.done()}
            new = [source for source in found() if source not in tasks]
            free = MOST_OUTPUTS - len(tasks) if new and isinstance(new[0], Output) else len(new)
            tasks |= {source: group.create_task(self._follow(source)) for source in new[:free]}
            if new[free:]:
                self._logs.tell("--follow", f"{MOST_OUTPUTS} containers are followed at once, not {len(found())}; choose with --component")
            await asyncio.sleep(seconds)
            try:
                await find()
            except StoreError as error:  # nothing is known: what was there is taken to be there
                self._logs.tell(PODS, error)

    async def _find_outputs(self) -> None:
        self._logs.find_outputs(await self._pods())

    async def _find_files(self) -> None:
        self._logs.tell_of_files(await self._logs.find_files(await self._pods()))

    async def _pods(self) -> Sequence[Raw]:
        pods = await self._logs.pods()
        if pods:
            self._logs.well(PODS)
        else:
            self._logs.tell(PODS, "there are none now; those that come are followed")
        return pods

    async def _follow(self, source: Source) -> None:
        """As long as its pod is there: its container may be started again, the connection to it may break."""
        logs, pause = self._logs, self._pace.again
        while source in logs.sources:
            opened, problem = time.monotonic(), None
            try:
                await _print(logs, source, source.followed(logs.connection, logs.namespace))
            except NotFound:
                pass  # the next look for pods says whether it has gone
            except StoreError as error:
                if isinstance(error, Forbidden) and not (logs.outputs and logs.files):
                    raise
                problem = error
            if time.monotonic() - opened > self._pace.longest:
                pause = self._pace.again
            if problem is not None and pause > self._pace.again:  # what the next try heals is no news
                logs.tell_of(source, problem)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._pace.longest)


async def _print(logs: PodLogs, source: Source, lines: AsyncIterator[tuple[str, str]]) -> None:
    subject = logs.title(source)
    async with aclosing(lines) as opened:  # type: ignore[type-var]
        async for name, line in opened:
            if not name:
                logs.tell(f"{subject}, says the kubelet", line)
                continue
            click.echo(f"[{name}] {line}" if logs.several else line)
            logs.well(subject)
