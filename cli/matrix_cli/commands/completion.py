"""`matrix completion`: the script that completes commands in a shell."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import get_completion_class

from matrix_cli.settings import Command

PROGRAM, VARIABLE = "matrix", "_MATRIX_COMPLETE"
"""click asks this variable whether a shell wants completions (click.shell_completion)."""


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands in your shell.

    Commands, options, kinds, objects, models and files. In bash, for this shell or in ~/.bashrc: eval "$(matrix completion bash)"
    """
    kind: Any = get_completion_class(shell)
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
