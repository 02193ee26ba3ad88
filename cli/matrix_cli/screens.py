"""What `up`, `down` and `wait` show while they wait: a live table on a terminal, a line per change in a log, JSON lines for a program."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import click

from matrix_cli.times import age, span
from matrix_client.verdict import State

if TYPE_CHECKING:
    from rich.table import Table

    from matrix_client.wait import Progress
    from matrix_crds.keys import ObjectKey


class Screen(Protocol):
    """Takes the progress of each object as it changes."""

    def show(self, progress: Progress) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def open_screen(keys: Sequence[ObjectKey], output: str) -> Screen:
    """The screen that fits: `output` is "json" or "text"."""
    if output == "json":
        return JsonScreen()
    return LiveScreen(keys) if sys.stderr.isatty() else PlainScreen()


class PlainScreen:
    """One line per change on stderr: seconds since the start, the object, what is so."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def show(self, progress: Progress) -> None:
        elapsed = span(time.monotonic() - self._begun)
        click.echo(f"{elapsed:>6}  {progress.key}: {words(progress)}", err=True)

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

    def __init__(self, keys: Sequence[ObjectKey]) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._progress: dict[ObjectKey, Progress | None] = dict.fromkeys(keys)
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self._table, console=Console(stderr=True), refresh_per_second=8)

    def show(self, progress: Progress) -> None:
        self._progress[progress.key] = progress

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        for key, progress in self._progress.items():
            state = progress.state if progress else State.WAITING
            mark = self._spinner if state is State.WAITING else Text(*_MARKS[state])
            since = age(progress.since) if progress and state is not State.DONE else ""
            table.add_row(
                mark, Text(str(key), style="bold"), Text(since, style="dim", justify="right"), Text(words(progress) if progress else "")
            )
        return table

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)


_MARKS = {State.DONE: ("✓", "green"), State.STUCK: ("✗", "red")}


def words(progress: Progress) -> str:
    """What is so, in words: done, or what is waited for and why."""
    if progress.done:
        return progress.message or f"{progress.goal} reached"
    if not progress.reason:
        return f"waiting for {progress.message}"
    return f"{progress.reason}: {progress.message}" if progress.message else progress.reason


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
