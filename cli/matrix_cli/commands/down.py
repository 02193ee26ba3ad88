"""`matrix down`: delete, and come back when nothing is left."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from matrix_cli import completing
from matrix_cli.references import read_keys
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.times import Duration, span
from matrix_cli.waiting import output_option, wait_on_screen
from matrix_client.context import Context
from matrix_client.goals import Deleted
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound


@click.command(cls=Command)
@click.argument("targets", metavar="FILE|KIND/NAME...", nargs=-1, required=True, shell_complete=completing.objects_and_files)
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="How long to wait; then exit code 4.")
@output_option
@pass_settings
def down(settings: Settings, targets: tuple[str, ...], timeout: float, output: str) -> None:
    """Delete objects and wait until nothing of them is left.

    What a manifest declares, or what is named; models go before their clusters. What is gone already is no error.
    """
    begun = time.monotonic()
    keys = _targets(targets, settings.namespace)

    async def work(context: Context) -> list[ObjectKey]:
        removed: list[ObjectKey] = []
        for group in _in_order(keys):
            there = await _delete(context, group)
            if not there:
                continue
            left = max(1.0, timeout - (time.monotonic() - begun))
            go_on = [f"matrix wait {' '.join(map(str, there))} --for delete", "matrix get"]
            await wait_on_screen(settings, context, dict.fromkeys(there, Deleted()), timeout=left, output=output, go_on=go_on)
            removed += there
        return removed

    _report(settings.run(work), keys, time.monotonic() - begun, output)


def _targets(targets: Sequence[str], namespace: str) -> list[ObjectKey]:
    files = [Path(target) for target in targets if _is_file(target)]
    named = read_keys([target for target in targets if not _is_file(target)], namespace)
    return [*_declared(files, namespace), *named] if files else named


def _is_file(target: str) -> bool:
    """Whether a file is meant: by its ending, or because there is one."""
    return target == "-" or target.endswith((".yaml", ".yml", ".json")) or Path(target).is_file()


def _declared(files: Sequence[Path], namespace: str) -> list[ObjectKey]:
    from matrix_client.manifests import keys_of, read_manifests

    return keys_of(read_manifests(files), namespace)


def _in_order(keys: Sequence[ObjectKey]) -> list[list[ObjectKey]]:
    """What stands on a cluster first, then the clusters."""
    clusters = [key for key in keys if key.kind == "MatrixCluster"]
    others = [key for key in keys if key.kind != "MatrixCluster"]
    return [group for group in (others, clusters) if group]


async def _delete(context: Context, keys: Sequence[ObjectKey]) -> list[ObjectKey]:
    """Mark all for deletion; those that were there."""
    store = await context.store()
    there = []
    for key in keys:
        try:
            await store.delete(key)
        except NotFound:
            continue
        there.append(key)
    return there


def _report(removed: Sequence[ObjectKey], asked: Sequence[ObjectKey], seconds: float, output: str) -> None:
    if output == "json":
        click.echo(json.dumps({"result": "Removed", "objects": [str(key) for key in removed], "seconds": round(seconds, 3)}))
        return
    for key in asked:
        if key not in removed:
            click.echo(f"{key} was not there")
    if removed:
        click.echo(f"removed in {span(seconds)}; nothing is left")
