"""`matrix delete`: mark objects for deletion."""

from __future__ import annotations

import click

from matrix_cli import completing
from matrix_cli.references import Selection, read_keys
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_client.context import Context
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import Store


@click.command(cls=Command)
@click.argument("references", metavar="KIND/NAME...", nargs=-1, required=True, shell_complete=completing.objects)
@pass_settings
def delete(settings: Settings, references: tuple[str, ...]) -> None:
    """Delete objects.

    Does not wait: `matrix down` does.
    """
    keys = read_keys(references, settings.namespace)

    async def work(context: Context) -> None:
        going = False
        try:
            for key in keys:  # each is told at once: it is done even if the next one fails
                going |= await _delete(await context.store(), key)
        finally:
            if going:
                await context.ensure_controller()

    settings.run(work)


async def _delete(store: Store, key: ObjectKey) -> bool:
    """Delete it and say so; whether something is left to be done. Raises NotFound."""
    try:
        held = await store.delete(key) is not None
    except NotFound as error:
        from matrix_cli.suggestions import not_found

        raise await not_found(store, Selection(*key)) from error
    click.echo(f"{key} is being deleted" if held else f"{key} deleted")
    return held
