"""`matrix apply`: store what manifests declare; the controller does the rest."""

from __future__ import annotations

from pathlib import Path

import click

from matrix_cli.settings import Command, Settings, pass_settings
from matrix_client.context import LocalContext


@click.command(cls=Command)
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path(path_type=Path))
@click.option("-f", "--filename", "more", metavar="FILE", multiple=True, type=click.Path(path_type=Path), help="A manifest; `-` is stdin.")
@click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")
@pass_settings
def apply(settings: Settings, files: tuple[Path, ...], more: tuple[Path, ...], dry_run: bool) -> None:
    """Create or change what manifests declare, without waiting.

    All of the files or nothing: one manifest that is not valid, and nothing is changed.
    """
    if not files and not more:
        raise click.UsageError("no manifest given", click.get_current_context())

    async def work(context: LocalContext) -> None:
        from matrix_client.manifests import apply_manifests, read_manifests

        manifests = read_manifests([*files, *more])
        await context.refuse_elsewhere()
        for stored, result in await apply_manifests(await context.store(), manifests, settings.namespace, dry_run=dry_run):
            click.echo(f"{stored.key} {result}{' (dry run)' if dry_run else ''}")
        if not dry_run:
            await context.ensure_controller()

    settings.run(work)
