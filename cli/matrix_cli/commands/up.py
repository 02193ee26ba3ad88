"""`matrix up`: the one command from a manifest to something that answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from matrix_cli import causes
from matrix_cli.local_backend import orphaned_rays
from matrix_cli.on_slurm import on_slurm
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.times import Duration, span
from matrix_cli.waiting import output_option, wait_on_screen
from matrix_client.context import LOCAL, Context
from matrix_client.endpoints import served_name
from matrix_client.goals import ConditionIs
from matrix_store.port import StoredObject


@click.command(cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--backend", type=click.Choice(["slurm"]), help="Run clusters that name no backend as jobs of this Slurm site.")
@click.option("--profile", metavar="NAME", help="Of the site's file; with --backend slurm (default: default, or the only one).")
@click.option("--timeout", type=Duration(), default="30m", show_default=True, help="How long to wait; then exit code 4.")
@output_option
@pass_settings
def up(settings: Settings, files: tuple[Path, ...], backend: str | None, profile: str | None, timeout: float, output: str) -> None:
    """Apply manifests and wait until everything is ready.

    Ends early when something only you can change stands in the way. Ctrl-C ends the waiting; what was started goes on.
    """
    begun = time.monotonic()

    async def work(context: Context) -> list[StoredObject]:
        from matrix_client.manifests import apply_manifests, read_manifests

        manifests = read_manifests(files)
        if backend == "slurm" or profile is not None:
            manifests = on_slurm(manifests, profile, context)
        await context.refuse_elsewhere()
        applied = await apply_manifests(await context.store(), manifests, settings.namespace)
        keys = [stored.key for stored, _ in applied]
        names = " ".join(map(str, keys))
        go_on = [f"matrix wait {names}", "matrix get", f"matrix down {names}"]
        if output == "text":
            for stored, result in applied:
                click.echo(f"{stored.key} {result}", err=True)
        for orphan in await asyncio.to_thread(orphaned_rays) if settings.context == LOCAL else ():
            told = settings.spelled(_in_one_line(causes.orphan_link(orphan)))
            click.echo(click.style("warning: ", fg="yellow", bold=True) + told, err=True)
        await wait_on_screen(settings, context, dict.fromkeys(keys, ConditionIs()), timeout=timeout, output=output, go_on=go_on)
        return [stored for stored, _ in applied]

    ready = settings.run(work)
    seconds = time.monotonic() - begun
    click.echo(json.dumps({"result": "Ready", "seconds": round(seconds, 3)}) if output == "json" else _farewell(settings, ready, seconds))


def _in_one_line(link: causes.Link) -> str:
    return f"{link.subject} {link.statement}; {link.remedy}"


def _farewell(settings: Settings, ready: Sequence[StoredObject], seconds: float) -> str:
    """What is there now and what to do with it."""
    text = f"ready in {span(seconds)}"
    model = next((stored for stored in ready if stored.key.kind == "ModelDeployment"), None)
    if model is None:
        return text
    name = served_name(model)
    place = f" -n {model.key.namespace}" if model.key.namespace != settings.namespace else ""
    env = f'eval "$({settings.spelling} env {name}{place})"'
    beside = "" if settings.context == LOCAL else f", with `{settings.spelling} port-forward {name}{place}` beside it"
    return f'{text}; ask it: {settings.spelling} chat {name}{place} "Hello"\nfor OpenAI\'s clients: {env}{beside}'
