"""`matrix operator`: the process that works on the objects of a Kubernetes cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from matrix_cli.settings import Group, Settings
from matrix_cli.times import Duration
from matrix_client.context import KUBERNETES, LOCAL
from matrix_client.errors import UsageError

if TYPE_CHECKING:
    from matrix_operator.engines.health_server import Address
    from matrix_operator.engines.kubernetes import Options
    from matrix_operator.engines.kubernetes_settings import SiteSettings
    from matrix_operator.retirement import Order

ALL = "all"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def operator() -> None:
    """Run the operator of a Kubernetes cluster.

    Several may run: one of them acts, the others take over within seconds when it dies.
    """


@operator.command()
@click.option("-n", "--namespace", "namespaces", multiple=True, metavar="NAME", help="Watch it; again for more (default: all).")
@click.option("--kubeconfig", type=FILE, help="Which cluster (default: that of this pod, else as kubectl finds it).")
@click.option("--context", metavar="NAME", help="A context of the kubeconfig (default: its current one).")
@click.option("--config", type=FILE, help="A file with the settings of the site.")
@click.option("--image", help="The image of the clusters' nodes.")
@click.option("--image-pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), help="When nodes pull their image.")
@click.option("--image-pull-secret", "image_pull_secrets", multiple=True, metavar="NAME", help="To pull it with; again for more.")
@click.option("--gpu-resource", metavar="NAME", help="What a pod with a GPU asks for (default: nvidia.com/gpu).")
@click.option("--run-as-user", type=click.IntRange(1), help="The uid of all processes in the pods (default: 1000).")
@click.option("--drain-seconds", type=click.IntRange(0, 86_400), help="How long a worker that goes may finish requests (default: 300).")
@click.option("--lease-name", metavar="NAME", help="The lease of those of whom one acts (default: matrix-operator).")
@click.option("--lease-namespace", metavar="NAME", help="Where it is (default: the operator's own namespace).")
@click.option("--bind-address", default="127.0.0.1", help="Where health and metrics are served (default: 127.0.0.1).")
@click.option("--health-port", type=click.IntRange(0, 65_535), default=8081, help="Of /livez and /readyz (default: 8081; 0: any).")
@click.option("--metrics-port", type=click.IntRange(0, 65_535), default=8080, help="Of /metrics (default: 8080; 0: any).")
@click.pass_context
def run(ctx: click.Context, /, config: Path | None, **given: Any) -> None:
    """Run the operator, in a pod or against a kubeconfig, until it is told to stop."""
    with _extra():
        from matrix_operator.engines.kubernetes import kuberay
        from matrix_operator.engines.kubernetes_main import main
        from matrix_operator.engines.kubernetes_settings import SettingsError, read
    try:
        site, file = _overriding(given), read(config) if config else None
        settings = (site.over(file) if file else site).kuberay()
    except SettingsError as error:
        raise UsageError(str(error)) from error
    options = replace(_options(ctx.ensure_object(Settings), given), hub=file.hub.settings() if file and file.hub else None)
    ctx.exit(main(options, kuberay(settings)))


@operator.command("hub-token")
def hub_token() -> None:
    """Make the token of a Slurm site.

    The token, on stdout, is for the site: a file of mode 0600 there. Its digest is for the operator's settings.
    """
    with _extra():
        from matrix_operator.hub.tokens import issue
    token, digest = issue()
    click.echo(token)
    click.echo(f"for the operator's settings: hub.sites.NAME.tokenSha256: {digest}", err=True)
    click.echo("the token is shown this once", err=True)


@operator.command("hub-certificate")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("names", nargs=-1, required=True)
def hub_certificate(directory: Path, names: tuple[str, ...]) -> None:
    """Make a certificate for the hub, and an authority that signs it.

    NAMES are the names and addresses by which sites reach the hub. Three files are written to DIRECTORY: ca.crt for the sites, tls.crt
    and tls.key for the operator.
    """
    with _extra():
        from matrix_operator.hub.certificates import CertificateProblem, make
    try:
        end = make(directory, names)
    except CertificateProblem as problem:
        raise UsageError(str(problem)) from problem
    click.echo(f"{directory}/ca.crt for the sites; {directory}/tls.crt and {directory}/tls.key for the operator; until {end:%Y-%m-%d}")


@operator.command()
@click.option("--clusters", type=click.Choice(["keep", "delete"]), default="keep", show_default=True, help="What becomes of the clusters.")
@click.option("-n", "--namespace", "namespaces", multiple=True, metavar="NAME", help="That it watches; again for more (default: all).")
@click.option("--kubeconfig", type=FILE, help="Which cluster (default: that of this pod, else as kubectl finds it).")
@click.option("--context", metavar="NAME", help="A context of the kubeconfig (default: its current one).")
@click.option("--operator-namespace", metavar="NAME", help="Where the operator is (default: that of this pod, or of the context).")
@click.option("--deployment", metavar="NAME", help="The operator's (default: matrix-operator).")
@click.option("--lease-name", metavar="NAME", help="The operator's lease (default: matrix-operator).")
@click.option("--timeout", type=Duration(), default="4m", show_default=True, help="How long to wait; then exit code 1.")
@click.pass_context
def retire(ctx: click.Context, /, **given: Any) -> None:
    """End the operator for good, before it is uninstalled.

    Clusters that are kept go on running, and can be deleted without an operator afterwards. When it can't be done the operator goes on.
    """
    try:
        from matrix_operator.retirement import main
    except ImportError as error:
        raise click.ClickException(f"this needs {error.name}: pip install 'matrix-operator[operator]'") from error
    settings = ctx.ensure_object(Settings)
    ctx.exit(main(_order(settings, given), given["kubeconfig"], given["context"] or _context(settings)))


def _order(settings: Settings, given: dict[str, Any]) -> Order:
    from matrix_crds.on_kubernetes import OPERATOR
    from matrix_operator.retirement import Clusters, Order

    return Order(
        clusters=Clusters(given["clusters"]),
        namespaces=_watched(settings, given),
        namespace=given["operator_namespace"],
        deployment=given["deployment"] or OPERATOR,
        lease_name=given["lease_name"] or OPERATOR,
        seconds=given["timeout"],
    )


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise click.ClickException(f"this needs {error.name}: pip install 'matrix-operator[operator]'") from error


def _overriding(given: dict[str, Any]) -> SiteSettings:
    from matrix_operator.engines.kubernetes_settings import SiteSettings

    options = {name: value for name in SiteSettings.model_fields if (value := given.get(name))}
    if secrets := options.get("image_pull_secrets"):
        options["image_pull_secrets"] = list(secrets)
    if given["drain_seconds"] is not None:
        options["drain_seconds"] = given["drain_seconds"]
    return SiteSettings.model_validate(options, by_name=True)


def _options(settings: Settings, given: dict[str, Any]) -> Options:
    from matrix_crds.on_kubernetes import OPERATOR
    from matrix_operator.engines.kubernetes import Options

    return Options(
        kubeconfig=given["kubeconfig"],
        context=given["context"] or _context(settings),
        namespaces=_watched(settings, given),
        lease_name=given["lease_name"] or OPERATOR,
        lease_namespace=given["lease_namespace"],
        health=_address(given["bind_address"], given["health_port"]),
        metrics=_address(given["bind_address"], given["metrics_port"]),
    )


def _context(settings: Settings) -> str | None:
    """What stands before the command's name: `kubernetes/NAME` as everywhere else."""
    kind, _, name = settings.context.partition("/")
    if settings.context != LOCAL and kind != KUBERNETES:
        raise UsageError(f"the operator runs in a context kubernetes[/NAME], not in {settings.context!r}")
    return name or None


def _watched(settings: Settings, given: dict[str, Any]) -> tuple[str, ...]:
    return _namespaces(given["namespaces"] or ((settings.given_namespace,) if settings.given_namespace else ()))


def _namespaces(given: tuple[str, ...]) -> tuple[str, ...]:
    if ALL in given and len(given) > 1:
        raise UsageError(f"--namespace {ALL} leaves no other to be named")
    return () if given == (ALL,) else tuple(dict.fromkeys(given))


def _address(host: str, port: int) -> Address:
    from matrix_operator.engines.health_server import Address

    return Address(host, port)
