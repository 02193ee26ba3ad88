"""`matrix scale`: how many replicas."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import click

from matrix_cli import completing
from matrix_cli.plural import plural
from matrix_cli.references import read_keys
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.times import Duration
from matrix_cli.waiting import output_option, wait_on_screen
from matrix_client.context import Context
from matrix_client.errors import UsageError
from matrix_client.goals import RolledOut
from matrix_crds import registry
from matrix_crds.keys import ObjectKey
from matrix_store.port import Raw


class Scaled(NamedTuple):
    """What was done to one object."""

    key: ObjectKey
    before: int
    after: int


@click.command(cls=Command)
@click.argument("references", metavar="KIND/NAME...", nargs=-1, required=True, shell_complete=completing.objects)
@click.option("--replicas", type=click.IntRange(min=0), required=True, metavar="N", help="How many there shall be; 0 ends all of them.")
@click.option("--wait", "wait", is_flag=True, help="Come back when all of them answer, and those too many are gone.")
@click.option("--timeout", type=Duration(), default="15m", show_default=True, help="How long to wait; then exit code 4.")
@output_option
@pass_settings
def scale(settings: Settings, references: tuple[str, ...], replicas: int, wait: bool, timeout: float, output: str) -> None:
    """Change how many replicas a model has.

    Nothing else of the object changes. Replicas that go finish their requests first.
    """
    keys = read_keys(references, settings.namespace)
    _refuse_what_has_no_replicas(keys)

    async def work(context: Context) -> None:
        await context.refuse_elsewhere()
        for key in keys:  # each is told at once: it is done even if the next one fails
            _say(await _scale(context, key, replicas), output)
        await context.ensure_controller()
        if wait:
            go_on = [f"matrix rollout status {key}" for key in keys]
            await wait_on_screen(settings, context, dict.fromkeys(keys, RolledOut()), timeout=timeout, output=output, go_on=go_on)

    settings.run(work)


def _refuse_what_has_no_replicas(keys: list[ObjectKey]) -> None:
    for key in keys:
        if registry.lookup(key.kind).scale is None:
            raise UsageError(f"a {key.kind} has no replicas; change spec.workerGroups[].replicas in its manifest and `matrix apply FILE`")


async def _scale(context: Context, key: ObjectKey, replicas: int) -> Scaled:
    from matrix_cli.changing import change_spec

    _, before = await change_spec(await context.store(), key, set_replicas(key, replicas))
    return Scaled(key, int(before.get("replicas", 1)), replicas)


def set_replicas(key: ObjectKey, replicas: int) -> Callable[[Raw], None]:
    """The change of a spec. It raises UsageError when demand decides, not a number."""

    def change(spec: Raw) -> None:
        if spec.get("autoscale"):
            low, high = spec["autoscale"].get("min", 0), spec["autoscale"]["max"]
            raise UsageError(f"{key} scales by demand ({low} to {high} replicas); change spec.autoscale in its manifest and apply it")
        spec["replicas"] = replicas

    return change


def _say(scaled: Scaled, output: str) -> None:
    if output == "json":
        click.echo(json.dumps({"object": str(scaled.key), "replicasBefore": scaled.before, "replicas": scaled.after}))
    elif scaled.before == scaled.after:
        click.echo(f"{scaled.key} unchanged ({plural(scaled.after, 'replica')})")
    else:
        click.echo(f"{scaled.key} scaled from {scaled.before} to {scaled.after}")
