"""From an exception to one line on stderr that says what to do, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from matrix_cli.colours import coloured
from matrix_cli.exits import Exit
from matrix_cli.program import current, spelled
from matrix_client import errors as client
from matrix_crds.errors import ManifestError
from matrix_store import errors as store


class Interrupted(Exception):
    """Ctrl-C, with what goes on in the background and how to go on."""


CODES: tuple[tuple[type[BaseException], Exit], ...] = (
    (ManifestError, Exit.INVALID),
    (client.UsageError, Exit.INVALID),
    (click.UsageError, Exit.INVALID),
    (store.NotFound, Exit.NOT_FOUND),
    (client.ObjectGone, Exit.NOT_FOUND),
    (client.WaitTimeout, Exit.TIMEOUT),
    (client.RequestTimeout, Exit.TIMEOUT),
    (store.Unavailable, Exit.UNAVAILABLE),
    (client.ControllerFailed, Exit.UNAVAILABLE),
    (Interrupted, Exit.INTERRUPTED),
    (store.StoreError, Exit.FAILED),
    (client.ClientError, Exit.FAILED),
    (click.ClickException, Exit.FAILED),
)
"""First match counts: subclasses stand before their bases."""
OF_WORDS = (click.UsageError, ManifestError)
"""They speak of what was written, in no place yet."""


def report(error: BaseException, placed: Callable[[str], str] = spelled, *, debug: bool = False) -> int:
    """Print an error for a person and return the exit code. `placed` makes commands and objects that it names mean the same place."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else Exit.FAILED
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return Exit.INTERRUPTED  # who pressed Ctrl-C knows
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return Exit.INVALID
    if debug:
        import traceback

        traceback.print_exception(error)
    code = next((code for kind, code in CODES if isinstance(error, kind)), None)
    if code is None:
        _say(f"unexpected {type(error).__name__}: {_one_line(error)} (--debug gives the trace)")
        return Exit.FAILED
    _say((spelled if isinstance(error, OF_WORDS) else placed)(_text(error)))
    for line in getattr(error, "lines", ()):
        click.echo(f"  | {line}", err=True)
    return code


def _text(error: BaseException) -> str:
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else current().name
        return f"{' '.join(error.format_message().split()).rstrip('.')}; see `{command} --help`"
    if isinstance(error, click.ClickException):
        return error.format_message()
    return str(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _say(text: str) -> None:
    click.echo(click.style("error: ", fg="red", bold=True) + text, err=True, color=None if coloured(os.environ) else False)


def reader_left() -> int:
    """`matrix get | head`: whoever read has enough. Python would complain again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.OK
