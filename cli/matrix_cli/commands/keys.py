"""`matrix keys`: keys for a cluster's endpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from matrix_cli import completing
from matrix_cli.clusters import find_cluster
from matrix_cli.settings import Command, Group, Settings, pass_settings
from matrix_cli.tables import print_table
from matrix_cli.times import Duration, age, span
from matrix_client.context import LOCAL, Context
from matrix_client.errors import UsageError
from matrix_store.errors import NotFound
from matrix_store.port import StoredObject

if TYPE_CHECKING:
    from matrix_proto.keys import ApiKey, ApiKeys

LONGEST_NAME = 100
LONGEST_SECONDS = 100 * 365 * 86_400
HEADERS = ("ID", "NAME", "STATE", "EXPIRES", "LIMIT", "AGE")
_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")


@click.group(cls=Group)
def keys() -> None:
    """Issue, list and revoke keys for a cluster's endpoint.

    Each user or script gets its own, with an end and a limit if you like. The cluster's own token (`matrix env`) goes on working. What is
    changed counts within seconds, on Kubernetes within about a minute.
    """


@keys.command(cls=Command)
@click.argument("cluster", metavar="[CLUSTER]", required=False, shell_complete=completing.clusters)
@click.option("--name", default="", help="Who or what it is for.")
@click.option("--expires", type=Duration(), metavar="DURATION", help="For how long it opens, such as 30d; without it, until it is revoked.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), metavar="N", help="At most so many; beyond that HTTP 429.")
@_output
@pass_settings
def issue(settings: Settings, cluster: str | None, name: str, expires: float | None, requests_per_minute: int | None, output: str) -> None:
    """Make a key and print it, once.

    Only its digest is kept.
    """

    _refuse_nonsense(name, expires)

    async def work(context: Context) -> tuple[StoredObject, str, ApiKey]:
        from matrix_client.api_keys import issue as make

        found = await find_cluster(await context.store(), settings.namespace, cluster)
        key, record = make(name, datetime.now(UTC).replace(microsecond=0), expires, requests_per_minute)
        await context.change_keys(found, lambda before: before.model_copy(update={"keys": (*before.keys, record)}))
        return found, key, record

    found, key, record = settings.run(work)
    if output == "json":
        click.echo(json.dumps({"key": key} | key_record(found, record)))
        return
    click.echo(key)
    end = f"until {record.expires:%Y-%m-%d %H:%M %Z}" if record.expires else "until it is revoked"
    click.echo(f"id {record.id}; it opens {found.key} {end}. It is not shown again: keep it, or give it as OPENAI_API_KEY", err=True)
    _say_when(settings, "It opens")


def _refuse_nonsense(name: str, expires: float | None) -> None:
    if not name.isprintable() or len(name) > LONGEST_NAME:
        raise UsageError(f"--name must be one line of at most {LONGEST_NAME} characters")
    if expires is not None and not 0 < expires <= LONGEST_SECONDS:
        raise UsageError("--expires must be more than nothing and at most 100 years, such as 30d; leave it away for a key without an end")


@keys.command("list", cls=Command)
@click.argument("cluster", metavar="[CLUSTER]", required=False, shell_complete=completing.clusters)
@_output
@pass_settings
def list_(settings: Settings, cluster: str | None, output: str) -> None:
    """List the keys that were issued, without the keys themselves."""

    async def work(context: Context) -> tuple[StoredObject, ApiKeys]:
        found = await find_cluster(await context.store(), settings.namespace, cluster)
        return found, await context.read_keys(found)

    found, issued = settings.run(work)
    now = datetime.now(UTC)
    if output == "json":
        click.echo(json.dumps([key_record(found, key) for key in issued.keys], indent=2))
    elif issued.keys:
        print_table(HEADERS, [row(key, now) for key in issued.keys], flexible=1)
    else:
        click.echo(settings.spelled(f"no keys for {found.key}; make one with `matrix keys issue`"), err=True)


@keys.command(cls=Command)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@pass_settings
def revoke(settings: Settings, ids: tuple[str, ...]) -> None:
    """Take keys away, for good.

    `matrix keys list` shows the ids.
    """

    async def work(context: Context) -> None:
        clusters = await (await context.store()).list("MatrixCluster", settings.namespace)
        for key, found in [(key, await _having(context, clusters, key)) for key in dict.fromkeys(ids)]:
            await context.change_keys(found, partial(without, key))
            click.echo(f"{key} of {found.key} revoked")

    settings.run(work)
    _say_when(settings, "It opens nothing any more")


def _say_when(settings: Settings, what: str) -> None:
    """On Kubernetes the kubelet brings a changed Secret into the pod when it comes to it."""
    if settings.context != LOCAL:
        click.echo(f"{what} within about a minute", err=True)


async def _having(context: Context, clusters: Sequence[StoredObject], key: str) -> StoredObject:
    """The cluster that a key was issued for. Raises NotFound, and KeysUnreadable when it may be in a file that can't be read."""
    from matrix_client.errors import KeysUnreadable, NotReady

    unreadable: KeysUnreadable | None = None
    for cluster in clusters:
        try:
            issued = await context.read_keys(cluster)
        except NotReady:
            continue
        except KeysUnreadable as error:
            unreadable = error
            continue
        if any(other.id == key for other in issued.keys):
            return cluster
    if unreadable is not None:
        raise unreadable
    raise NotFound(f"no key has the id {key!r}; `matrix keys list` shows them")


def without(key: str, keys: ApiKeys) -> ApiKeys:
    """All but the one of that id."""
    return keys.model_copy(update={"keys": tuple(other for other in keys.keys if other.id != key)})


def row(key: ApiKey, now: datetime) -> tuple[str, ...]:
    """The cells of the table."""
    gone = key.expires is not None and key.expires <= now
    left = "never" if key.expires is None else f"{age(key.expires, now)} ago" if gone else f"in {span((key.expires - now).total_seconds())}"
    limit = f"{key.requests_per_minute}/min" if key.requests_per_minute else "none"
    return (key.id, key.name or "-", "expired" if gone else "valid", left, limit, age(key.created, now))


def key_record(cluster: StoredObject, key: ApiKey) -> dict[str, Any]:
    """The JSON form: everything but the key and its digest."""
    return {"cluster": str(cluster.key)} | key.model_dump(mode="json", by_alias=True, exclude={"digest"})
