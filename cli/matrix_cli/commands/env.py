"""`matrix env`: what OpenAI's clients read from the environment."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

import click

from matrix_cli import completing
from matrix_cli.clusters import address, find_cluster
from matrix_cli.program import current
from matrix_cli.proxies import LOOPBACK, around_it, proxy_in_the_way
from matrix_cli.settings import Command, Settings, pass_settings, remote
from matrix_client.context import Context, LocalContext
from matrix_store.port import StoredObject

LISTENING_SECONDS = 0.5

SHELLS: Mapping[str, tuple[Callable[[str, str], str], str]] = {
    "sh": (lambda name, value: f"export {name}={shlex.quote(value)}", 'eval "$({command})"'),
    "fish": (lambda name, value: f"set -gx {name} {shlex.quote(value)}", "{command} | source"),
    "powershell": (lambda name, value: f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'", "{command} | Invoke-Expression"),
}
"""How a shell sets a variable, and how it reads such lines from a command."""


@click.command(cls=Command)
@click.argument("subject", metavar="[MODEL|mxc/NAME]", required=False, shell_complete=completing.models_and_clusters)
@click.option("--shell", type=click.Choice(list(SHELLS)), default="sh", help="Whose words: sh (bash, zsh), fish or powershell.")
@click.option("--local-port", type=click.IntRange(1, 65_535), metavar="N", help="That `matrix port-forward` was given, on Kubernetes.")
@click.option("--inside", is_flag=True, help="The address within the Kubernetes cluster, for programs in its pods.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
@pass_settings
def env(settings: Settings, subject: str | None, shell: str, local_port: int | None, inside: bool, output: str) -> None:
    """Print the variables that OpenAI's clients read.

    OPENAI_BASE_URL and OPENAI_API_KEY of a cluster's endpoint, where all of its models answer; with one cluster, nothing need be named.
    In a shell: eval "$(matrix env)". On Kubernetes run `matrix port-forward` beside it.
    """

    async def work(context: Context) -> dict[str, str]:
        cluster = await find_cluster(await context.store(), settings.namespace, subject)
        url = address(cluster)
        if not inside and not isinstance(context, LocalContext) and not remote(context, "an address").inside:
            url = _forwarded(settings, cluster, url, local_port)
        return {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": await context.client_token(cluster)}

    found = settings.run(work)
    write, read = SHELLS[shell]
    click.echo(json.dumps(found) if output == "json" else "\n".join(write(name, value) for name, value in found.items()))
    if output == "text":
        _hints(typed(sys.argv), read)


def typed(argv: Sequence[str]) -> str:
    """This very command, as a shell reads it."""
    return shlex.join([*current().name.split(), *argv[1:]])


def _forwarded(settings: Settings, cluster: StoredObject, url: str, local_port: int | None) -> str:
    """The address that `matrix port-forward` opens on this machine; says so on stderr while nothing is there."""
    parts = urlsplit(url)
    port = local_port or parts.port or 0
    try:
        socket.create_connection((LOOPBACK, port), LISTENING_SECONDS).close()
    except OSError:
        command, local = f"{settings.spelling} port-forward", f" {local_port}:openai" if local_port else ""
        told = f"nothing listens at {LOOPBACK}:{port} yet; beside this, run: {command} {settings.named(cluster.key)}{local}"
        click.echo(click.style("note: ", fg="yellow", bold=True) + told, err=True)
    return parts._replace(netloc=f"{LOOPBACK}:{port}").geturl()


def _hints(command: str, read: str) -> None:
    """On stderr, so that a shell that reads the lines shows them."""
    if sys.stdout.isatty():
        click.echo(click.style(f"# to set them: {read.format(command=command)}", dim=True), err=True)
    proxy = proxy_in_the_way(os.environ)
    if proxy:
        told = f"{proxy} is set: clients would ask it for this machine's addresses; set no_proxy={around_it(os.environ)}"
        click.echo(click.style("warning: ", fg="yellow", bold=True) + told, err=True)
