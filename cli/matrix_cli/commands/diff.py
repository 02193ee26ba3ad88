"""`matrix diff`: what applying manifests would change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from matrix_cli.exits import Exit
from matrix_cli.settings import Command, Settings
from matrix_client.context import Context

if TYPE_CHECKING:
    from matrix_cli.differences import Difference


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
@click.pass_context
def diff(ctx: click.Context, files: tuple[Path, ...], output: str) -> None:
    """Show what applying manifests would change.

    Defaults are filled in on both sides, so that only real changes show. Exit code 0: nothing would change; 1: something would.
    """
    settings = ctx.ensure_object(Settings)

    async def work(context: Context) -> bool:
        from matrix_cli.differences import coloured
        from matrix_cli.previewing import preview
        from matrix_client.manifests import read_manifests

        found = await preview(await context.store(), read_manifests(files), settings.namespace)
        changed = [difference for difference in found if difference.lines]
        if output == "json":
            click.echo(json.dumps([_record(difference) for difference in found], indent=2, ensure_ascii=False))
        else:
            click.echo("".join(f"{line}\n" for d in changed for line in coloured(d.lines)), nl=False)
        return bool(changed)

    ctx.exit(Exit.FAILED if settings.run(work) else Exit.OK)


def _record(found: Difference) -> dict[str, Any]:
    return {
        "object": str(found.key),
        "result": found.result.value,
        "replacesReplicas": found.replaces_replicas,
        "before": found.before,
        "after": found.after,
    }
