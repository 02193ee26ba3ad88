"""Plain tables: aligned columns, two spaces apart, as wide as they need; on a terminal never wider than it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import click

GAP = "  "
NARROWEST = 20
"""The flexible column is not cut below this."""
COLOURS = {"True": "green", "False": "red", "Unknown": "yellow", "Warning": "yellow"}
"""Words that get a colour on a terminal."""


def terminal_width() -> int | None:
    """Columns of the terminal on stdout, None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None, *, flexible: int = -1, wrap: bool = False
) -> list[str]:
    """The lines of a table. With a `width` the `flexible` column is cut with an ellipsis, or with `wrap` continued below itself."""
    widths = [max(_width(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    if width is not None:
        rest = sum(widths) - widths[flexible] + len(GAP) * (len(headers) - 1)
        widths[flexible] = min(widths[flexible], max(NARROWEST, width - rest))
    lines = [_line(headers, widths)]
    for row in rows:
        pieces = _wrapped(row[flexible], widths[flexible]) if wrap else [_cut(row[flexible].partition("\n")[0], widths[flexible])]
        lines.append(_line(_with(row, flexible, pieces[0]), widths, colour=True))
        lines += [_line(_with([""] * len(row), flexible, piece), widths) for piece in pieces[1:]]
    return lines


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, flexible: int = -1, wrap: bool = False, indent: str = "") -> None:
    """Print a table that fits the terminal, if there is one."""
    width = terminal_width()
    for line in table_lines(headers, rows, None if width is None else width - len(indent), flexible=flexible, wrap=wrap):
        click.echo(indent + line)


def _with(row: Sequence[str], index: int, cell: str) -> list[str]:
    changed = list(row)
    changed[index] = cell
    return changed


def _line(cells: Sequence[str], widths: Sequence[int], *, colour: bool = False) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    if colour:
        padded = [click.style(text, fg=COLOURS[text.strip()]) if text.strip() in COLOURS else text for text in padded]
    return GAP.join(padded).rstrip()


def _width(cell: str) -> int:
    return max(map(len, cell.splitlines()), default=0)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return [piece for line in text.splitlines() for piece in textwrap.wrap(line, width, break_on_hyphens=False)] or [""]
