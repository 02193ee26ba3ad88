"""`matrix controller`: the process that works on the objects of this machine."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import click

from matrix_cli.exits import Exit
from matrix_cli.settings import Command, Group, Settings, local, pass_settings
from matrix_client import controller as process
from matrix_client.context import Context

if TYPE_CHECKING:
    from matrix_store.home import Home
    from matrix_store.lock import Holder


@click.group(cls=Group)
def controller() -> None:
    """Run, look at or stop the controller.

    `matrix up` starts it when it is needed, and it ends by itself when nothing is left to manage.
    """


@controller.command(cls=Command)
@click.option("--detach", is_flag=True, help="In the background, where it outlives this terminal.")
@pass_settings
def run(settings: Settings, detach: bool) -> None:
    """Run the controller, in the foreground unless told otherwise."""
    if detach:
        settings.run(lambda context: process.ensure_running(_home(context)))
        return

    async def command(context: Context) -> list[str]:
        home = _home(context)
        home.create()
        return process.controller_command(home)

    argv = settings.run(command)
    os.execve(argv[0], argv, process.controller_environ(os.environ))


@controller.command(cls=Command)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
@click.pass_context
def status(ctx: click.Context, output: str) -> None:
    """Say whether the controller runs; exit code 5 if it does not."""
    settings = ctx.ensure_object(Settings)

    async def work(context: Context) -> tuple[Holder | None, str]:
        home = _home(context)
        return await asyncio.to_thread(process.holder, home), str(home.controller_log)

    held, log = settings.run(work)
    if output == "json":
        click.echo(json.dumps(_record(held) | {"log": log}))
    else:
        start = settings.spelled("not running; start it with `matrix controller run --detach`")
        click.echo(f"running: {held}, log {log}" if held else start)
    ctx.exit(Exit.OK if held else Exit.UNAVAILABLE)


@controller.command(cls=Command)
@pass_settings
def stop(settings: Settings) -> None:
    """End the controller; models go on answering, but nothing heals or changes."""
    ended = settings.run(lambda context: process.stop(_home(context)))
    click.echo("stopped; what runs goes on" if ended else "it was not running")


@controller.command("end-orphan", cls=Command)
@click.argument("uid")
def end_orphan(uid: str) -> None:
    """End a Ray of Matrix whose state directory is lost; `matrix why` names it."""
    from matrix_cli.local_backend import end_orphaned_ray

    if not end_orphaned_ray(uid):
        raise click.ClickException(f"{uid} is no Ray without a record, or not all of it has ended; see `matrix why`, or try again")
    click.echo(f"nothing of {uid} is left")


def _home(context: Context) -> Home:
    return local(context, "the controller").home


def _record(held: Holder | None) -> dict[str, object]:
    if held is None:
        return {"running": False}
    return {"running": True, "host": held.owner.host, "pid": held.owner.pid, "details": dict(held.details)}
