"""`matrix rollout`: start what runs anew, and follow a change until it has arrived."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import click

from matrix_cli import completing
from matrix_cli.references import read_keys
from matrix_cli.settings import Command, Group, Settings, pass_settings
from matrix_cli.times import Duration
from matrix_cli.waiting import output_option, wait_on_screen
from matrix_client.context import Context
from matrix_client.goals import RolledOut
from matrix_crds.keys import ObjectKey
from matrix_store.port import Raw

SECTION = {"ModelDeployment": "rollout", "MatrixCluster": "upgradePolicy"}
"""The part of the spec that has `restartedAt`."""


@click.group(cls=Group)
def rollout() -> None:
    """Restart what runs, or follow a change until it has arrived.

    A change of a manifest rolls out by itself.
    """


@rollout.command(cls=Command)
@click.argument("references", metavar="KIND/NAME...", nargs=-1, required=True, shell_complete=completing.objects)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
@pass_settings
def restart(settings: Settings, references: tuple[str, ...], output: str) -> None:
    """Start what runs anew, although nothing of the manifest has changed.

    The replicas of a ModelDeployment, one by one as spec.rollout says; the nodes of a MatrixCluster. Does not wait.
    """
    keys = read_keys(references, settings.namespace)

    async def work(context: Context) -> None:
        from matrix_cli.changing import change_spec

        await context.refuse_elsewhere()
        store, now = await context.store(), timestamp(datetime.now(UTC))
        for key in keys:
            await change_spec(store, key, set_restarted(key, now))
            told = json.dumps({"object": str(key), "restartedAt": now})
            follow = f"{settings.spelling} rollout status {settings.named(key)}"
            click.echo(told if output == "json" else f"{key} restarts; follow it: {follow}")
        await context.ensure_controller()

    settings.run(work)


@rollout.command(cls=Command)
@click.argument("references", metavar="KIND/NAME...", nargs=-1, required=True, shell_complete=completing.objects)
@click.option("--timeout", type=Duration(), default="15m", show_default=True, help="How long to wait; then exit code 4.")
@output_option
@pass_settings
def status(settings: Settings, references: tuple[str, ...], timeout: float, output: str) -> None:
    """Wait until what runs is what the manifest says, and show how far it is."""
    keys = read_keys(references, settings.namespace)

    async def work(context: Context) -> None:
        go_on = [f"matrix rollout status {key}" for key in keys]
        await wait_on_screen(settings, context, dict.fromkeys(keys, RolledOut()), timeout=timeout, output=output, go_on=go_on)

    settings.run(work)


def timestamp(moment: datetime) -> str:
    """As objects have it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def set_restarted(key: ObjectKey, now: str) -> Callable[[Raw], None]:
    """The change of a spec."""

    def change(spec: Raw) -> None:
        spec[SECTION[key.kind]] = spec.get(SECTION[key.kind], {}) | {"restartedAt": now}

    return change
