"""Waiting with a screen, and what to say when the user has had enough of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import click

from matrix_cli.failure import Interrupted
from matrix_cli.screens import open_screen
from matrix_cli.settings import Settings
from matrix_client.context import Context
from matrix_client.goals import Goal
from matrix_client.wait import wait_for
from matrix_crds.keys import ObjectKey


async def wait_on_screen(
    settings: Settings, context: Context, goals: Mapping[ObjectKey, Goal], *, timeout: float, output: str, go_on: Sequence[str]
) -> None:
    """Wait until every object is as its goal says. Ctrl-C raises Interrupted with `go_on`: the commands that take it up again."""
    try:
        with open_screen(list(goals), output, settings.spelled) as screen:
            await wait_for(await context.store(), goals, timeout=timeout, on_progress=screen.show, keep_running=context.supervise)
    except asyncio.CancelledError:
        commands = ", ".join(f"`{command}`" for command in go_on)
        raise Interrupted(f"interrupted; it goes on in the background: {commands}") from None


output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text, or json: one JSON object per line and change."
)
"""How progress is shown."""
