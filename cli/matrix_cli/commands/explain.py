"""`matrix explain`: what a kind is and what a field means."""

from __future__ import annotations

import json
import sys

import click

from matrix_cli import completing
from matrix_cli.settings import Command
from matrix_cli.tables import terminal_width
from matrix_client.errors import UsageError
from matrix_crds import registry

DEEP = 32
"""Levels; deeper than any kind."""


@click.command(cls=Command)
@click.argument("path", metavar="KIND[.FIELD...]", shell_complete=completing.fields)
@click.option("--recursive", is_flag=True, help="All fields inside it, not only the next level.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
def explain(path: str, recursive: bool, output: str) -> None:
    """Say what a kind or a field is.

    Its type, bounds, default and values, whether it can be changed, the rules that concern it, and an example: such as
    `matrix explain mxd.spec.engine.vllm`.
    """
    from matrix_cli import explaining
    from matrix_crds.fields import UnknownField, field

    kind, _, inner = path.strip(".").partition(".")
    try:
        found = field(registry.lookup(kind), inner, depth=DEEP if recursive else 1 if inner else 2)
    except UnknownField as error:
        raise UsageError(str(error)) from error
    if output == "json":
        click.echo(json.dumps(explaining.record(found), indent=2, ensure_ascii=False))
        return
    width = min(terminal_width() or sys.maxsize, explaining.WIDEST)
    click.echo("\n".join(explaining.lines(found, width, recursive=recursive)))
