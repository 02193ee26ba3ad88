"""`matrix bridge`: the ordinary user's side of a Slurm site."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from matrix_cli.exits import Exit
from matrix_cli.settings import Group
from matrix_client.errors import UsageError

if TYPE_CHECKING:
    from matrix_slurm_bridge.agent.lock import Holder
    from matrix_slurm_bridge.agent.site_file import SiteFile
    from matrix_slurm_bridge.hub.endpoint import HubEndpoint

FILE = click.Path(dir_okay=False, path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)
site_option = click.option("--site-file", type=FILE, help="The site's file (default: ~/.config/matrix/site.yaml).")
hub_options = (
    click.option("--hub", "address", metavar="HOST:PORT", help="Where the hub listens (default: hub.address of the site's file)."),
    click.option("--site", metavar="NAME", help="As the hub knows it (default: site of the site's file)."),
    click.option("--token-file", type=FILE, help="Holds the site's token (default: hub.tokenFile)."),
    click.option("--ca", type=FILE, help="The certificate that signed the hub's (default: hub.caFile, else those this machine trusts)."),
)


@click.group(cls=Group)
def bridge() -> None:
    """Run clusters as jobs of a Slurm site, as an ordinary user of it.

    On a login node `matrix up --backend slurm` needs no bridge that runs; `run` is for clusters that are declared in Kubernetes.
    """


@bridge.command()
@site_option
@click.option("--print", "only_print", is_flag=True, help="Print it, and write nothing.")
def init(site_file: Path | None, only_print: bool) -> None:
    """Look at the site, and write its file, to be read and edited."""
    from matrix_slurm_bridge import discover
    from matrix_slurm_bridge.site import SiteError, default_path, write_new
    from matrix_slurm_bridge.slurm.commands import SlurmCommands
    from matrix_slurm_bridge.slurm.port import SlurmError

    try:
        text = discover.site_yaml(asyncio.run(discover.look(SlurmCommands(), Path(sys.executable))))
        if only_print:
            click.echo(text, nl=False)
            return
        path = site_file or default_path()
        write_new(path, text)
    except SlurmError as error:
        raise click.ClickException(f"{error}; this has to be a login node of a Slurm site, with Slurm's commands in PATH") from error
    except SiteError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {path}: read it, correct sharedDirectory and python, then `matrix bridge doctor`")


@bridge.command("install-runtime")
@click.option("--prefix", type=DIRECTORY, required=True, help="A directory that this machine and all nodes see.")
@click.option("--hardware", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Which vLLM.")
@click.option("--checkout", type=DIRECTORY, help="Of Matrix (default: the one that this program runs from).")
def install_runtime(prefix: Path, hardware: str, checkout: Path | None) -> None:
    """Make the environment of the nodes, from the lock, without root.

    Another release goes beside the former one, which runs on for those who use it.
    """
    from matrix_cli.bridge import runtime

    try:
        python = runtime.install(prefix.absolute(), runtime.checkout_of(checkout), hardware, lambda line: click.echo(line, err=True))
    except (runtime.InstallFailed, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"python: {python}    # for the profiles of the site's file")


def _with_hub_options(command: Any) -> Any:
    for option in reversed(hub_options):
        command = option(command)
    return command


@bridge.command()
@site_option
@_with_hub_options
@click.pass_context
def run(ctx: click.Context, /, site_file: Path | None, **hub: Any) -> None:
    """Run the bridge to a hub, until it is told to stop; jobs go on running."""
    from matrix_slurm_bridge import bridge as program
    from matrix_slurm_bridge.agent.errors import AgentError
    from matrix_slurm_bridge.hub.endpoint import HubError
    from matrix_slurm_bridge.site import SiteError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        file = _file(site_file)
        asyncio.run(program.run(file, _endpoint(file, **hub)))
    except AgentError as error:
        click.echo(f"error: {error}", err=True)
        ctx.exit(Exit.UNAVAILABLE)
    except (SiteError, HubError) as error:
        raise UsageError(str(error)) from error


@bridge.command()
@site_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
@click.pass_context
def status(ctx: click.Context, site_file: Path | None, output: str) -> None:
    """Say which agent works on the site, and on what; exit code 5 if none does."""
    from matrix_slurm_bridge.agent.errors import AgentError
    from matrix_slurm_bridge.agent.lock import AgentLock
    from matrix_slurm_bridge.agent.start import agent_directory
    from matrix_slurm_bridge.agent.status import read_status
    from matrix_slurm_bridge.site import SiteError

    try:
        directory = agent_directory(Path(_file(site_file).read().shared_directory))
        holder = AgentLock(directory).holder()
    except (SiteError, AgentError) as error:
        raise click.ClickException(str(error)) from error
    record = read_status(directory) or {}
    if output == "json":
        click.echo(json.dumps({"agent": str(holder) if holder else None} | dict(record), indent=2))
    else:
        click.echo("\n".join(_lines(holder, record)))
    ctx.exit(Exit.OK if _at_work(holder) else Exit.UNAVAILABLE)


@bridge.command()
@site_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="text or json.")
@click.pass_context
def doctor(ctx: click.Context, site_file: Path | None, output: str) -> None:
    """Look for what is wrong with the site as seen from here; exit code 1 when there is a problem."""
    from dataclasses import asdict

    from matrix_cli.bridge.examine import examine
    from matrix_cli.commands.doctor import count, page
    from matrix_cli.tables import terminal_width

    sections = examine(_file(site_file))
    if output == "json":
        records = [{"section": section} | asdict(finding) for section, found in sections.items() for finding in found]
        click.echo(json.dumps(records, indent=2))
    else:
        click.echo("\n".join(page(sections, terminal_width() or sys.maxsize)))
    ctx.exit(Exit.FAILED if count(sections, "problem") else Exit.OK)


@bridge.command("install-service")
@site_option
@_with_hub_options
def install_service(site_file: Path | None, **hub: Any) -> None:
    """Write a unit for your own systemd that runs the bridge, and say how to start it."""
    from matrix_cli.bridge.service import UNIT, unit_path, unit_text
    from matrix_slurm_bridge.hub.endpoint import HubError
    from matrix_slurm_bridge.site import SiteError

    try:
        _endpoint(_file(site_file), **hub).token()
        path = unit_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit_text(_options(site_file, hub)))
    except (SiteError, HubError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename} can't be written: {error.strerror}") from error
    click.echo(f"wrote {path}; start it with\n  systemctl --user daemon-reload && systemctl --user enable --now {UNIT}")
    click.echo("and let it outlive your log-in with\n  loginctl enable-linger")


@bridge.command()
@site_option
def unbind(site_file: Path | None) -> None:
    """Let another hub have the site: the next one that answers. No agent may be at work."""
    from matrix_slurm_bridge.agent.errors import AgentError
    from matrix_slurm_bridge.agent.start import started
    from matrix_slurm_bridge.site import SiteError

    async def work() -> str:
        async with started(_file(site_file)) as (_, journal, _):
            bound = journal.hub_id()
            journal.unbind()
        return bound

    try:
        bound = asyncio.run(work())
    except (AgentError, SiteError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"the site does not belong to {bound} any more" if bound else "the site belonged to no hub")


def _file(path: Path | None) -> SiteFile:
    from matrix_slurm_bridge.agent.site_file import SiteFile

    return SiteFile(path)


def _endpoint(file: SiteFile, address: str | None, site: str | None, token_file: Path | None, ca: Path | None) -> HubEndpoint:
    """Raises UsageError, SiteError."""
    from matrix_slurm_bridge.hub.endpoint import HubEndpoint

    found = file.read()
    hub = found.hub
    address = address or (hub.address if hub else None)
    token = token_file or (Path(hub.token_file).expanduser() if hub else None)
    if address is None or token is None:
        raise UsageError("say which hub, with --hub HOST:PORT --token-file FILE, or `hub` in the site's file")
    authority = ca or (Path(hub.ca_file).expanduser() if hub and hub.ca_file else None)
    return HubEndpoint(address, site or found.site, token.absolute(), authority)


def _options(site_file: Path | None, hub: Mapping[str, Any]) -> list[str]:
    names = {"address": "--hub", "site": "--site", "token_file": "--token-file", "ca": "--ca"}
    given = {"--site-file": site_file} | {names[key]: value for key, value in hub.items()}
    paths = {option: value.absolute() if isinstance(value, Path) else value for option, value in given.items()}
    return [word for option, value in paths.items() if value is not None for word in (option, str(value))]


def _at_work(holder: Holder | None) -> bool:
    from matrix_store.owner import Liveness

    return holder is not None and holder.liveness is not Liveness.GONE


def _lines(holder: Holder | None, record: Mapping[str, Any]) -> Iterator[str]:
    if not _at_work(holder):
        yield "no agent is at work" + (f" ({holder} is gone)" if holder else "")
        yield "`matrix up --backend slurm` starts one with what it needs it for; `matrix bridge run` runs one for a hub"
    else:
        yield f"agent: {holder}, as of {record.get('writtenAt', 'never')}"
    hub = record.get("hub") or {}
    if hub:
        state = f"connected since {hub['since']}" if hub.get("connected") else f"not connected: {hub.get('problem') or 'not yet'}"
        yield f"hub {hub.get('address')}: {state}"
    for cluster in record.get("clusters", ()):
        head = cluster.get("head", {})
        claim = "" if cluster.get("claimed") else "  (unclaimed: no hub has named it since the agent's start)"
        told = cluster.get("message") or head.get("message") or head.get("phase", "")
        yield f"{cluster.get('namespace')}/{cluster.get('name')}  {cluster.get('presence')}  {told}{claim}"
