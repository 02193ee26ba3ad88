"""`matrix get`: what there is. The most used command: it loads neither pydantic nor a client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import click

from matrix_cli import completing
from matrix_cli.columns import flexible_column, headers_of, row_of
from matrix_cli.formats import print_objects
from matrix_cli.references import Selection, read_selections
from matrix_cli.settings import Command, Settings, pass_settings
from matrix_cli.tables import print_table
from matrix_client.context import Context
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import Store, StoredObject

TABLES = ("table", "wide")


class Form(NamedTuple):
    """How it is shown."""

    output: str
    everywhere: bool
    settings: Settings


@click.command(cls=Command)
@click.argument("words", metavar="[KIND[/NAME]]...", nargs=-1, shell_complete=completing.objects_and_kinds)
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json", "yaml", "name"]), default="table", help="wide adds columns.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and show each object again when it changes.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")
@pass_settings
def get(settings: Settings, words: tuple[str, ...], output: str, watch: bool, all_namespaces: bool) -> None:
    """List objects.

    Without an argument, or with `matrix`, everything there is. Kinds go by their name, plural or short name, such as mxd.
    """
    selections = read_selections(words, settings.namespace)
    form = Form(output, all_namespaces, settings)

    async def work(context: Context) -> None:
        store = await context.store()
        if watch:
            await _watch(store, selections, form)
        else:
            found = await _select(store, selections, all_namespaces)
            _show(found, selections, form)
            if not found and output in TABLES:
                where = "" if all_namespaces else f" in namespace {selections[0].namespace}"
                click.echo(settings.spelled(f"nothing here{where}; start something with `matrix up FILE`"), err=True)

    settings.run(work)


async def _select(store: Store, selections: Sequence[Selection], everywhere: bool) -> list[StoredObject]:
    found: list[StoredObject] = []
    for selection in selections:
        if selection.key is None:
            found += await store.list(selection.kind, None if everywhere else selection.namespace)
        else:
            found.append(await _one(store, selection))
    return found


async def _one(store: Store, selection: Selection) -> StoredObject:
    try:
        return await store.get(ObjectKey(selection.kind, selection.namespace, selection.name or ""))
    except NotFound as error:
        from matrix_cli.suggestions import not_found

        raise await not_found(store, selection) from error


def _show(found: Sequence[StoredObject], selections: Sequence[Selection], form: Form) -> None:
    if form.output not in TABLES:
        print_objects(found, form.output, form.settings.named, single=len(selections) == 1 and selections[0].name is not None)
        return
    kinds = list(dict.fromkeys(selection.kind for selection in selections))
    tables = [(kind, members) for kind in kinds if (members := [stored for stored in found if stored.key.kind == kind])]
    for index, (kind, members) in enumerate(tables):
        if index:
            click.echo()
        _print_kind(kind, members, form, qualified=len(kinds) > 1)


def _print_kind(kind: str, members: Sequence[StoredObject], form: Form, *, qualified: bool) -> None:
    wide, everywhere = form.output == "wide", form.everywhere
    rows = [row_of(stored, wide=wide, namespaced=everywhere, qualified=qualified) for stored in members]
    flexible = flexible_column(kind, wide=wide, namespaced=everywhere)
    for row in rows:
        row[flexible] = form.settings.spelled(row[flexible])
    print_table(headers_of(kind, wide=wide, namespaced=everywhere), rows, flexible=flexible)


async def _watch(store: Store, selections: Sequence[Selection], form: Form) -> None:
    """Everything once, then what changed, until Ctrl-C."""
    from matrix_client.mirror import mirroring

    shown: dict[ObjectKey, StoredObject] = {}
    namespaces = None if form.everywhere else {selection.namespace for selection in selections}
    async with mirroring(store, sorted({selection.kind for selection in selections}), namespaces) as mirror:
        while True:
            present = {key: stored for key, stored in mirror.objects.items() if _wanted(stored, selections, form.everywhere)}
            news = [stored for key, stored in sorted(present.items()) if shown.get(key) != stored]
            for key in [key for key in shown if key not in present]:
                _say_gone(shown[key], form.output)
            _show_news(news, selections, form)
            shown = dict(present)
            await mirror.change()


def _wanted(stored: StoredObject, selections: Sequence[Selection], everywhere: bool) -> bool:
    return any(
        stored.key.kind == selection.kind
        and (everywhere or stored.key.namespace == selection.namespace)
        and selection.name in (None, stored.key.name)
        for selection in selections
    )


def _show_news(news: Sequence[StoredObject], selections: Sequence[Selection], form: Form) -> None:
    if form.output in TABLES:
        if news:
            _show(news, selections, form)
        return
    for stored in news:
        click.echo(json.dumps(stored.raw)) if form.output == "json" else print_objects(
            [stored], form.output, form.settings.named, single=True
        )


def _say_gone(stored: StoredObject, output: str) -> None:
    click.echo(json.dumps({"deleted": str(stored.key)}) if output == "json" else f"{stored.key} is gone")
