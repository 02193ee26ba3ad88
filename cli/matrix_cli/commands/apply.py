"""`matrix apply`: store what manifests declare; the controller does the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from matrix_cli.settings import Command, Settings, pass_settings
from matrix_client.context import Context

if TYPE_CHECKING:
    from matrix_crds.loading import Manifest

FILE = click.Path(path_type=Path, allow_dash=True)


@click.command(cls=Command)
@click.argument("files", metavar="[FILE...]", nargs=-1, type=FILE)
@click.option("-f", "--filename", "more", metavar="FILE", multiple=True, type=FILE, help="A manifest; `-` is stdin.")
@click.option("--dry-run", is_flag=True, help="Check everything, show what would change, and change nothing.")
@pass_settings
def apply(settings: Settings, files: tuple[Path, ...], more: tuple[Path, ...], dry_run: bool) -> None:
    """Create or change what manifests declare, without waiting.

    All of the files or nothing: one manifest that is not valid, and nothing is changed.
    """
    if not files and not more:
        raise click.UsageError("no manifest given", click.get_current_context())

    async def work(context: Context) -> None:
        from matrix_client.manifests import apply_manifests, read_manifests

        manifests = read_manifests([*files, *more])
        if dry_run:
            return await _show(context, manifests, settings.namespace)
        await context.refuse_elsewhere()
        for stored, result in await apply_manifests(await context.store(), manifests, settings.namespace):
            click.echo(f"{stored.key} {result}")
        await context.ensure_controller()
        return None

    settings.run(work)


async def _show(context: Context, manifests: list[Manifest], namespace: str) -> None:
    from matrix_cli.differences import coloured
    from matrix_cli.previewing import preview

    for found in await preview(await context.store(), manifests, namespace):
        click.echo(f"{found.key} {found.result} (dry run)" + (f"; {found.effect}" if found.effect else ""))
        if found.before is not None:
            click.echo("".join(f"{line}\n" for line in coloured(found.lines)), nl=False)
