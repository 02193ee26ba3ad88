"""`matrix logs`: what the processes wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matrix_cli import completing
from matrix_cli.follow import Tail
from matrix_cli.pod_logs import Look, PodLogs
from matrix_cli.pod_reading import follow, show
from matrix_cli.references import Selection, read_keys
from matrix_cli.settings import Command, Settings, local, pass_settings, remote
from matrix_cli.suggestions import not_found
from matrix_client.context import Context, LocalContext
from matrix_client.errors import UsageError
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import StoredObject

if TYPE_CHECKING:
    from matrix_client.kubernetes_context import KubernetesContext

CONTROLLER = "controller"
_GROUPS = {"serve/replica_": "replica", "output/": "output"}
POLL_SECONDS = 0.25


@click.command(cls=Command)
@click.argument("subject", metavar="KIND/NAME|controller", shell_complete=completing.objects_and_controller)
@click.option("-c", "--component", metavar="NAME", help="Only this one, or those whose names contain it; `--list` names them.")
@click.option("--list", "only_list", is_flag=True, help="Only name the components and their files.")
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written.")
@click.option("--previous", is_flag=True, help="Of the containers before their last restart, on Kubernetes.")
@click.option("--tail", "lines", type=click.IntRange(min=0), default=100, show_default=True, help="The last lines of each component.")
@pass_settings
def logs(settings: Settings, subject: str, component: str | None, only_list: bool, follow: bool, previous: bool, lines: int) -> None:
    """Show the logs of an object or of the controller.

    Of a ModelDeployment those of its replicas, with the engine's own lines; of a MatrixCluster those of Ray's parts, and of its
    containers on Kubernetes.
    """

    async def work(context: Context) -> None:
        if not isinstance(context, LocalContext):
            return await _of_pods(
                remote(context, "a pod"), subject, settings.namespace, component, only_list, Look(lines, follow, previous)
            )
        files = _choose(await _files(context, subject, settings.namespace), component, subject)
        if only_list:
            for name, path in files.items():
                click.echo(f"{name}  {path}")
        else:
            await _show(files, lines, follow)
        return None

    settings.run(work)


async def _of_pods(context: KubernetesContext, subject: str, namespace: str, component: str | None, only_list: bool, look: Look) -> None:
    if subject == CONTROLLER:
        raise UsageError("the operator's log is that of its own pod: `kubectl logs` in the namespace that it lives in shows it")
    key = read_keys([subject], namespace)[0]
    found = PodLogs(context, await _cluster_of(context, key), key, look)
    await found.find()
    if component is not None:
        found.choose(component)
    if only_list:
        for name, place in found.names().items():
            click.echo(f"{name}  {place}")
    elif look.follow and not look.previous:  # what was before has ended
        await follow(found)
    else:
        await show(found, look.previous)


async def _cluster_of(context: Context, key: ObjectKey) -> StoredObject:
    stored = await _get(context, key)
    if key.kind == "MatrixCluster":
        return stored
    return await _get(context, ObjectKey("MatrixCluster", key.namespace, stored.raw["spec"]["clusterRef"]["name"]))


async def _files(context: Context, subject: str, namespace: str) -> Mapping[str, Path]:
    if subject == CONTROLLER:
        return {CONTROLLER: local(context, "the controller's log").home.controller_log}
    key = read_keys([subject], namespace)[0]
    files = _cluster_files(context, await _cluster_of(context, key))
    return _parts_of_ray(files) if key.kind == "MatrixCluster" else _replicas(files, key)


async def _get(context: Context, key: ObjectKey) -> StoredObject:
    store = await context.store()
    try:
        return await store.get(key)
    except NotFound as error:
        raise await not_found(store, Selection(*key)) from error


def _cluster_files(context: Context, cluster: StoredObject) -> Mapping[str, Path]:
    from matrix_cli.local_backend import cluster_logs

    return cluster_logs(local(context, "the log of a process").home, cluster.uid)


def _parts_of_ray(files: Mapping[str, Path]) -> dict[str, Path]:
    """Everything but the models' replicas: those are their deployments'."""
    return {name: path for name, path in files.items() if "mx-md-" not in name}


def _replicas(files: Mapping[str, Path], key: ObjectKey) -> dict[str, Path]:
    """Those of one deployment, the one written to last at the end, under their own short names. The application is mx-md-NAME."""
    mine = [name for name in files if f"mx-md-{key.name}_" in name]
    mine.sort(key=lambda name: files[name].stat().st_mtime if files[name].exists() else 0.0)
    return {_short(name): files[name] for name in mine}


def _short(name: str) -> str:
    """replica/ID (what Serve says of it), output/PID (what it and its engine printed), build/PID (what read its configuration)."""
    group = next((group for start, group in _GROUPS.items() if name.startswith(start)), "build")
    return f"{group}/{name.rpartition('_')[2]}"


def _choose(files: Mapping[str, Path], component: str | None, subject: str) -> Mapping[str, Path]:
    """Those of `component`. Raises UsageError, NotFound."""
    present = {name: path for name, path in files.items() if path.exists()}
    if not present:
        raise NotFound(
            f"{subject} has no logs yet; see `matrix why {subject}`" if subject != CONTROLLER else "the controller has no log yet"
        )
    if component is None:
        return present
    chosen = {name: path for name, path in present.items() if name == component} or {n: p for n, p in present.items() if component in n}
    if not chosen:
        raise UsageError(f"{subject} has no component {component!r}; there is {', '.join(present)}")
    return chosen


async def _show(files: Mapping[str, Path], lines: int, follow: bool) -> None:
    """The last lines of each file, then what is added. Several files: each line says whose it is."""
    tails = {f"[{name}] " if len(files) > 1 else "": Tail(path, lines) for name, path in files.items()}
    while True:
        for prefix, tail in tails.items():
            for line in tail.new_lines():
                click.echo(prefix + line)
        if not follow:
            return
        await asyncio.sleep(POLL_SECONDS)
