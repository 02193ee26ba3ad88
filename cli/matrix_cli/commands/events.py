"""`matrix events`: what happened."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import click

from matrix_cli import completing
from matrix_cli.references import read_keys
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.tables import print_table
from matrix_cli.times import age
from matrix_client.context import Context, LocalContext
from matrix_crds.keys import ObjectKey
from matrix_store.errors import Busy, StoreError
from matrix_store.port import Event

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
REMOTE_POLL_SECONDS = 2.0
HEADERS = ("LAST", "TYPE", "REASON", "OBJECT", "MESSAGE")


@click.command(cls=Command)
@click.argument("references", metavar="[KIND/NAME]...", nargs=-1, shell_complete=completing.objects)
@click.option("-w", "--watch", is_flag=True, help="Go on, and show new ones as they come.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="table, or json: one object per line.")
@pass_settings
def events(settings: Settings, references: tuple[str, ...], watch: bool, output: str) -> None:
    """Show what happened.

    To the named objects or to all, oldest first; those of removed objects are kept for a while.
    """
    keys = read_keys(references, settings.namespace)

    async def work(context: Context) -> None:
        found = await _events(context, keys, settings.namespace)
        if found or not watch:
            _show(found, output, settings)
        if watch:
            await _follow(context, keys, settings, output, found)

    settings.run(work)


async def _follow(context: Context, keys: Sequence[ObjectKey], settings: Settings, output: str, shown: Sequence[Event]) -> None:
    """Show new ones until Ctrl-C. What a store's watch waits out (`matrix get --watch`) is waited out here, too."""
    here = isinstance(context, LocalContext)
    seen, passing = set(shown), Busy if here else StoreError
    while True:
        await asyncio.sleep(POLL_SECONDS if here else REMOTE_POLL_SECONDS)
        try:
            found = [event for event in await _events(context, keys, settings.namespace) if event not in seen]
        except passing as error:
            log.warning("events: %s; asked again soon", error)
            continue
        if found:
            _show(found, output, settings)
        seen.update(found)


async def _events(context: Context, keys: Sequence[ObjectKey], namespace: str) -> Sequence[Event]:
    store = await context.store()
    if not keys:
        return await store.events(namespace=namespace)
    return sorted([event for key in keys for event in await store.events(key)], key=lambda event: event.last)


def _show(found: Sequence[Event], output: str, settings: Settings) -> None:
    if output == "json":
        for event in found:
            click.echo(json.dumps(event_record(event)))
    elif found:
        print_table(HEADERS, [_row(event, settings) for event in found], wrap=True)
    else:
        click.echo("no events", err=True)


def _row(event: Event, settings: Settings) -> tuple[str, ...]:
    times = f" (x{event.count})" if event.count > 1 else ""
    return (age(event.last), event.type, event.reason, str(event.key), settings.spelled(event.message) + times)


def event_record(event: Event) -> dict[str, Any]:
    """The JSON form."""
    return {
        "object": {"kind": event.key.kind, "namespace": event.key.namespace, "name": event.key.name, "uid": event.uid},
        "type": event.type.value,
        "reason": event.reason,
        "message": event.message,
        "firstTimestamp": event.first.isoformat(),
        "lastTimestamp": event.last.isoformat(),
        "count": event.count,
    }
