"""What `up`, `down` and `wait` show while they wait: a live table on a terminal, a line per change in a log, JSON lines for a program."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import click

from matrix_cli.times import age, span
from matrix_client.verdict import State
from matrix_crds.keys import ObjectKey

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from matrix_client.wait import Progress


class Screen(Protocol):
    """Takes the progress of each object as it changes."""

    def show(self, progress: Progress) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


Spelling = Callable[[str], str]
"""Makes commands that a text names mean this place (Settings.spelled)."""


def open_screen(keys: Sequence[ObjectKey], output: str, spelled: Spelling) -> Screen:
    """The screen that fits: `output` is "json" or "text"."""
    if output == "json":
        return JsonScreen(keys, spelled)
    live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return LiveScreen(keys, spelled) if live else PlainScreen(keys, spelled)


class PlainScreen:
    """One line per change on stderr: seconds since the start, the object, what is so."""

    def __init__(self, keys: Sequence[ObjectKey], spelled: Spelling) -> None:
        self._begun = time.monotonic()
        self._keys = keys
        self._spelled = spelled
        self._last: dict[ObjectKey, str] = {}

    def show(self, progress: Progress) -> None:
        text = words(progress, self._spelled, self._keys)
        if self._last.get(progress.key) != text:
            click.echo(f"{span(time.monotonic() - self._begun):>6}  {progress.key}: {text}", err=True)
        self._last[progress.key] = text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class JsonScreen(PlainScreen):
    """One JSON object per change on stdout."""

    def show(self, progress: Progress) -> None:
        click.echo(json.dumps(progress_record(progress)))


class LiveScreen:
    """One line per object that is always up to date: a spinner or a mark, what it waits for, since when."""

    def __init__(self, keys: Sequence[ObjectKey], spelled: Spelling) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._progress: dict[ObjectKey, Progress | None] = dict.fromkeys(keys)
        self._spelled = spelled
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self._table, console=Console(stderr=True), refresh_per_second=8)

    def show(self, progress: Progress) -> None:
        self._progress[progress.key] = progress

    def _table(self) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        for key, progress in self._progress.items():
            table.add_row(*self._cells(key, progress))
        return table

    def _cells(self, key: ObjectKey, progress: Progress | None) -> Iterator[RenderableType]:
        from rich.text import Text

        state = progress.state if progress else State.WAITING
        yield self._spinner if state is State.WAITING else Text(*_MARKS[state])
        yield Text(str(key), style="bold")
        yield Text(age(progress.since) if progress and state is not State.DONE else "", style="dim", justify="right")
        yield Text(words(progress, self._spelled, list(self._progress)) if progress else "")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)


_MARKS = {State.DONE: ("✓", "green"), State.STUCK: ("✗", "red")}


def words(progress: Progress, spelled: Spelling, shown: Sequence[ObjectKey]) -> str:
    """What is so, in one line: done, or what is waited for and why. A cluster that is `shown` too speaks for itself."""
    message = spelled(progress.message.partition("\n")[0])
    cluster = cluster_waited_for(progress)
    if progress.done:
        return message or f"{progress.goal} reached"
    if cluster is not None and cluster in shown:
        return f"waiting for {cluster}"
    if not progress.reason:
        return f"waiting for {message}"
    return f"{progress.reason}: {message}" if message else progress.reason


def cluster_waited_for(progress: Progress) -> ObjectKey | None:
    """The cluster that a deployment waits for, if it does."""
    if progress.object is None or progress.reason not in {"ClusterNotReady", "StateUnknown"} or progress.key.kind != "ModelDeployment":
        return None
    return ObjectKey("MatrixCluster", progress.key.namespace, progress.object.raw["spec"]["clusterRef"]["name"])


def progress_record(progress: Progress) -> dict[str, str | bool | None]:
    """The JSON form: one line of `-o json`."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "object": str(progress.key),
        "waitingFor": str(progress.goal),
        "state": progress.state.value,
        "reason": progress.reason or None,
        "message": progress.message or None,
        "since": progress.since.isoformat() if progress.since else None,
    }
