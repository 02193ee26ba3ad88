"""`matrix why`: the chain of causes, in plain words."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from matrix_cli import causes, completing
from matrix_cli.exits import Exit
from matrix_cli.local_backend import orphaned_rays
from matrix_cli.references import read_keys
from matrix_cli.settings import Command, Settings, remote
from matrix_cli.tables import terminal_width
from matrix_client import controller
from matrix_client.context import Context, LocalContext
from matrix_crds import registry
from matrix_crds.keys import ObjectKey
from matrix_store.port import Store, StoredObject

if TYPE_CHECKING:
    from matrix_client.kubernetes_context import KubernetesContext


@click.command(cls=Command)
@click.argument("references", metavar="KIND/NAME", nargs=-1, required=True, shell_complete=completing.objects)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
@click.pass_context
def why(ctx: click.Context, references: tuple[str, ...], output: str) -> None:
    """Say in plain words why an object is not ready, and what to do.

    From the object down to the first thing that is wrong. Exit code 0 when all is well, 1 when something is wrong, 3 when there is no
    such object.
    """
    settings = ctx.ensure_object(Settings)
    keys = read_keys(references, settings.namespace)
    if len(keys) != 1:
        raise click.UsageError("name one object", ctx)
    snapshot = settings.run(lambda context: _snapshot(context, keys[0].namespace))
    found = causes.explain(keys[0], snapshot)
    links = [replace(link, statement=settings.spelled(link.statement), remedy=settings.spelled(link.remedy)) for link in found]
    _print_json(links) if output == "json" else _print(links)
    ctx.exit(_code(keys[0], links, snapshot))


async def _snapshot(context: Context, namespace: str) -> causes.Snapshot:
    store = await context.store()
    if not isinstance(context, LocalContext):
        return causes.Snapshot(await _objects(store, namespace), await _operator(remote(context, "an operator"), namespace))
    objects = await _objects(store, None)
    working, orphans = await asyncio.gather(_controller(context, objects), asyncio.to_thread(orphaned_rays))
    return causes.Snapshot(objects, working, orphans)


async def _operator(context: KubernetesContext, namespace: str) -> causes.Operator | None:
    from matrix_client.kubernetes_operator import find_operator

    found = await find_operator(context.api, namespace)
    return None if found is None else causes.Operator(found.running, found.words)


async def _objects(store: Store, namespace: str | None) -> dict[ObjectKey, StoredObject]:
    return {stored.key: stored for kind in registry.KINDS for stored in await store.list(kind.kind, namespace)}


async def _controller(context: LocalContext, objects: dict[ObjectKey, StoredObject]) -> causes.Controller:
    held = await asyncio.to_thread(controller.holder, context.home)
    if held is None:
        return causes.Controller(running=False)
    # Its pulse takes seconds to feel: only when there is something that it should be working on.
    beating = all(causes.is_ready(stored) for stored in objects.values()) or await controller.is_beating(context.home)
    return causes.Controller(running=True, description=str(held), beating=beating)


def _code(key: ObjectKey, links: Sequence[causes.Link], snapshot: causes.Snapshot) -> Exit:
    if key not in snapshot.objects:
        return Exit.NOT_FOUND
    return Exit.OK if all(link.healthy for link in links) else Exit.FAILED


def _print_json(links: Sequence[causes.Link]) -> None:
    records = [
        {"subject": link.subject, "statement": link.statement, "remedy": link.remedy or None, "healthy": link.healthy} for link in links
    ]
    click.echo(json.dumps(records, indent=2, ensure_ascii=False))


def _print(links: Sequence[causes.Link]) -> None:
    width = terminal_width() or sys.maxsize
    for depth, link in enumerate(links):
        mark = click.style("✓ ", fg="green") if link.healthy else click.style("✗ ", fg="red")
        lead = "besides, " if link.beside else "because " if depth else ""
        _paragraphs(mark, f"{lead}{link.subject} {link.statement}", width)
        if link.remedy:
            _paragraphs(click.style("  → ", fg="cyan"), link.remedy, width)


def _paragraphs(mark: str, text: str, width: int) -> None:
    """Text that hangs below its mark and fits the terminal; its own lines stay lines."""
    indent = " " * len(click.unstyle(mark))
    first, *more = text.splitlines()
    for lead, line in [(mark, first), *((indent, line) for line in more)]:
        pieces = textwrap.wrap(line, max(20, width - len(indent)), break_on_hyphens=False, drop_whitespace=lead == mark) or [""]
        click.echo(lead + f"\n{indent}".join(pieces))
