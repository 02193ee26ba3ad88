"""`matrix delete`: mark objects for deletion."""

from __future__ import annotations

import click

from matrix_cli import completing
from matrix_cli.references import read_keys
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_client.context import Context


@click.command(cls=Command)
@click.argument("references", metavar="KIND/NAME...", nargs=-1, required=True, shell_complete=completing.objects)
@pass_settings
def delete(settings: Settings, references: tuple[str, ...]) -> None:
    """Delete objects.

    Does not wait: `matrix down` does.
    """
    keys = read_keys(references, settings.namespace)

    async def work(context: Context) -> None:
        store = await context.store()
        going = [key for key in keys if await store.delete(key) is not None]
        for key in keys:
            click.echo(f"{key} is being deleted" if key in going else f"{key} deleted")
        if going:
            await context.ensure_controller()

    settings.run(work)
