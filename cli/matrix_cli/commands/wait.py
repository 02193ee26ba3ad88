"""`matrix wait`: block until objects are as wanted."""

from __future__ import annotations

import click

from matrix_cli import completing
from matrix_cli.references import read_keys
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.times import Duration
from matrix_cli.waiting import output_option, wait_on_screen
from matrix_client import goals
from matrix_client.context import Context


@click.command(cls=Command)
@click.argument("references", metavar="KIND/NAME...", nargs=-1, required=True, shell_complete=completing.objects)
@click.option(
    "--for", "goal", metavar="GOAL", default="condition=Ready", show_default=True, help="condition=TYPE, condition=TYPE=False, or delete."
)
@click.option("--timeout", type=Duration(), default="15m", show_default=True, help="How long to wait; then exit code 4.")
@output_option
@pass_settings
def wait(settings: Settings, references: tuple[str, ...], goal: str, timeout: float, output: str) -> None:
    """Wait until objects are as wanted."""
    wanted = dict.fromkeys(read_keys(references, settings.namespace), goals.parse(goal))

    async def work(context: Context) -> None:
        await wait_on_screen(settings, context, wanted, timeout=timeout, output=output, go_on=[f"matrix why {key}" for key in wanted])

    settings.run(work)
