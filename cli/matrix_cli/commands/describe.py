"""`matrix describe`: everything that is known about an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from matrix_cli import completing
from matrix_cli.commands.events import event_record
from matrix_cli.formats import print_raw, yaml_text
from matrix_cli.references import Selection, read_keys
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.suggestions import not_found
from matrix_cli.tables import print_table
from matrix_cli.times import age
from matrix_client.context import Context
from matrix_client.verdict import State, Verdict, judge, moment
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import Event, Raw, Store, StoredObject

MOST_EVENTS = 20
"""The last ones are shown; `matrix events` has all."""


@click.command(cls=Command)
@click.argument("references", metavar="KIND/NAME...", nargs=-1, required=True, shell_complete=completing.objects)
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="text, json or yaml.")
@pass_settings
def describe(settings: Settings, references: tuple[str, ...], output: str) -> None:
    """Show everything that is known about an object.

    Its spec, its conditions, what it waits for, where it answers, and what happened to it.
    """
    keys = read_keys(references, settings.namespace)

    async def work(context: Context) -> None:
        store = await context.store()
        for index, key in enumerate(keys):
            stored, verdict = await _look(store, key)
            events = [event for event in await store.events(key) if event.uid == stored.uid]
            if output != "text":
                print_raw(_record(stored, verdict, events), output)
                continue
            if index:
                click.echo("\n---")
            _print(stored, verdict, events, settings)
            if len(events) > MOST_EVENTS:
                earlier = f"{len(events) - MOST_EVENTS} earlier: {settings.spelling} events {settings.named(key)}"
                click.echo(click.style(f"  {earlier}", dim=True))

    settings.run(work)


async def _look(store: Store, key: ObjectKey) -> tuple[StoredObject, Verdict]:
    try:
        stored = await store.get(key)
    except NotFound as error:
        raise await not_found(store, Selection(*key)) from error
    clusters = {other.key: other for other in await store.list("MatrixCluster", key.namespace)}
    return stored, judge(stored, "Ready", "True", clusters)


def _record(stored: StoredObject, verdict: Verdict, events: Sequence[Event]) -> dict[str, Any]:
    waits = (
        None
        if verdict.state is State.DONE
        else {"reason": verdict.reason, "message": verdict.message, "stuck": verdict.state is State.STUCK}
    )
    return {"object": stored.raw, "waitsFor": waits, "events": [event_record(event) for event in events]}


def _print(stored: StoredObject, verdict: Verdict, events: Sequence[Event], settings: Settings) -> None:
    raw = stored.raw
    created = moment(raw["metadata"].get("creationTimestamp"))
    _fields(
        [
            ("Name", stored.key.name),
            ("Kind", f"{stored.key.kind} ({raw['apiVersion']})"),
            ("Namespace", stored.key.namespace),
            ("Created", f"{created:%Y-%m-%d %H:%M:%S %Z} ({age(created)} ago)" if created else ""),
            ("Deleting", f"since {age(moment(raw['metadata'].get('deletionTimestamp')))}" if stored.deleting else ""),
            ("Summary", settings.spelled(str(raw.get("status", {}).get("summary", "")))),
            _waits(verdict, settings),
        ]
    )
    _section("Spec")
    click.echo("".join(f"  {line}\n" for line in yaml_text(raw.get("spec", {})).splitlines()), nl=False)
    _conditions(raw, settings)
    _endpoints(raw)
    _events(events, settings)


def _fields(pairs: Sequence[tuple[str, str]]) -> None:
    for name, value in pairs:
        if value:
            click.echo(f"{name + ':':<12}{value}")


def _waits(verdict: Verdict, settings: Settings) -> tuple[str, str]:
    """What it waits for; nothing for an object that is ready."""
    if verdict.state is State.DONE:
        return "Waits for", ""
    told = ": ".join(part for part in (verdict.reason, settings.spelled(verdict.message)) if part)
    since = f" (for {age(verdict.since)})" if verdict.since else ""
    return ("Stuck on" if verdict.state is State.STUCK else "Waits for"), told + since


def _section(title: str) -> None:
    click.echo(click.style(f"\n{title}:", bold=True))


def _conditions(raw: Raw, settings: Settings) -> None:
    found = raw.get("status", {}).get("conditions", ())
    _section("Conditions")
    if not found:
        click.echo("  none yet: the controller has not looked at it")
        return
    rows = [
        (c["type"], c["status"], c.get("reason", ""), age(moment(c.get("lastTransitionTime"))), settings.spelled(c.get("message", "")))
        for c in found
    ]
    print_table(("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"), rows, wrap=True, indent="  ")


def _endpoints(raw: Raw) -> None:
    found = raw.get("status", {}).get("endpoints", ())
    if found:
        _section("Endpoints")
        print_table(("NAME", "SCOPE", "URL"), [(e["name"], e.get("scope", ""), e["url"]) for e in found], indent="  ")


def _events(events: Sequence[Event], settings: Settings) -> None:
    if events:
        _section("Events")
        rows = [(age(e.last), e.type, e.reason, str(e.count), settings.spelled(e.message)) for e in events[-MOST_EVENTS:]]
        print_table(("LAST", "TYPE", "REASON", "COUNT", "MESSAGE"), rows, wrap=True, indent="  ")
