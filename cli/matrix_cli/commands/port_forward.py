"""`matrix port-forward`: a cluster's endpoint on a port of this machine."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import click

from matrix_cli import completing
from matrix_cli.clusters import find_cluster
from matrix_cli.settings import Command, Settings, pass_settings, remote
from matrix_client.context import Context
from matrix_client.errors import UsageError
from matrix_crds.on_kubernetes import ray_token_secret
from matrix_store.port import StoredObject

OPENAI = "openai"
LARGEST_PORT = 65_535


@click.command("port-forward", cls=Command)
@click.argument("subject", metavar="[MODEL|mxc/NAME]", required=False, shell_complete=completing.models_and_clusters)
@click.argument("port", metavar="[[LOCAL:]ENDPOINT]", default=OPENAI)
@pass_settings
def port_forward(settings: Settings, subject: str | None, port: str) -> None:
    """Bring a cluster's endpoint to a port of this machine.

    Through the API server alone, until Ctrl-C, also when the pod behind it is replaced. ENDPOINT is openai (the default), dashboard, grpc
    or directory; LOCAL is the port here (0 for a free one), by default the same as there.
    """
    local_port, endpoint = read_port(port)

    async def work(context: Context) -> None:
        from matrix_client.kubernetes_context import published

        there = remote(context, "a port to forward")
        cluster = await find_cluster(await there.store(), settings.namespace, subject)
        url = urlsplit(published(cluster, endpoint))
        wanted = (url.port or 0) if local_port is None else local_port
        try:
            forwarding = await there.forward(cluster, endpoint, wanted, told=_warn)
        except OSError as error:
            raise UsageError(f"port {wanted} can't be had ({error.strerror}); choose another: `0:{endpoint}` takes a free one") from error
        try:
            await forwarding.find()
            _tell(settings, cluster, endpoint, url._replace(netloc=forwarding.address).geturl(), forwarding.pod)
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # Ctrl-C is how it ends
            pass
        finally:
            await forwarding.close()

    settings.run(work)


def read_port(text: str) -> tuple[int | None, str]:
    """`ENDPOINT`, `LOCAL:ENDPOINT` or `LOCAL`: the port here, None if not given, and the endpoint. Raises UsageError."""
    local, colon, endpoint = text.rpartition(":")
    if not colon and text.isdecimal():
        local, endpoint = text, OPENAI
    if not local and not colon:
        return None, endpoint
    if not local.isdecimal() or int(local) > LARGEST_PORT or not endpoint:
        raise UsageError(f"{text!r} is no port to forward; write ENDPOINT or LOCAL:ENDPOINT, such as 9000:{OPENAI}")
    return int(local), endpoint


def _tell(settings: Settings, cluster: StoredObject, endpoint: str, here: str, pod: str) -> None:
    """The address on stdout, for programs; all else is for people."""
    click.echo(here)
    click.echo(f"leads to {endpoint} of {cluster.key} (pod {pod}); Ctrl-C ends it", err=True)
    if endpoint == OPENAI:
        command = f"{settings.spelling} env {settings.named(cluster.key)} --local-port {urlsplit(here).port}"
        click.echo(f'in another terminal: eval "$({command})"', err=True)
    elif endpoint == "dashboard":
        click.echo(
            f"it asks for Ray's token, which means running code on the cluster: Secret {ray_token_secret(cluster.key.name)}", err=True
        )


def _warn(words: str) -> None:
    click.echo(click.style("warning: ", fg="yellow", bold=True) + words, err=True)
