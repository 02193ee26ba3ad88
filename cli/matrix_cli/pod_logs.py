"""The logs of an object on Kubernetes: what its pods' containers print, and the files that Ray and its actors write inside of them.

The first asks for the right to read pods/log; the second for pods/exec, since files in a pod can be read in no other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from matrix_client.errors import UsageError
from matrix_crds.keys import ObjectKey
from matrix_crds.on_kubernetes import UID_LABEL
from matrix_store.errors import Forbidden, NotFound, StoreError, Unavailable
from matrix_store.port import Raw, StoredObject

if TYPE_CHECKING:
    from matrix_client.kubernetes_context import KubernetesContext

DIRECTORY = "/tmp/ray/session_latest/logs"
"""Ray's, in every pod of a cluster (docs.ray.io, "Configuring Logging")."""
_PARTS = "ls raylet.* gcs_server.* dashboard.log monitor.* serve/*.log 2>/dev/null | grep -v mx-md-"
"""Those of Ray itself: a model's replicas are their deployments'."""
_REPLICAS = 'ls serve/*"$0"_*.log 2>/dev/null; grep -l "^:actor_name:ServeReplica:$0:" worker-*.out 2>/dev/null'
"""Those of an application's replicas. Ray writes at the head of worker-<id>-<job>-<pid>.out who it was."""
_FOLLOW = 'tail -v -n "$0" -F -- "$@" & cat >/dev/null; kill $!'
"""Until stdin ends. Without that it would stay in the pod for as long as nothing is written."""


@dataclass
class PodFiles:
    """Some files of a pod, by the names that they have here."""

    pod: str
    container: str
    names: dict[str, str] = field(default_factory=dict)
    """Each path with its name."""


@dataclass(frozen=True)
class Look:
    """What is wanted of the logs."""

    lines: int
    follow: bool
    previous: bool


class PodLogs:
    """Of the pods of one cluster."""

    def __init__(self, context: KubernetesContext, cluster: StoredObject, subject: ObjectKey) -> None:
        self._connection = context.connection
        self._api = context.api
        self._namespace = cluster.key.namespace
        self._cluster = cluster
        self._subject = subject
        self.containers: dict[str, tuple[str, str]] = {}
        """Name here, pod and container."""
        self.files: list[PodFiles] = []

    async def find(self) -> None:
        """What there is. Raises NotFound when there is nothing, Forbidden, Unavailable."""
        from matrix_store.kubernetes.pods import labelled

        pods = await labelled(self._api, self._namespace, UID_LABEL, self._cluster.uid)
        whole = self._subject.kind == "MatrixCluster"
        if whole:
            self.containers = {name: place for pod in pods for name, place in self._containers(pod)}
        refused = [error for error in await asyncio.gather(*(self._find_files(pod) for pod in pods)) if error is not None]
        if refused and not (whole and self.containers):
            raise refused[0]
        for error in refused[:1]:
            click.echo(click.style("note: ", fg="yellow", bold=True) + f"without the files inside the pods: {error}", err=True)
        if not self.names():
            raise NotFound(f"{self._subject} has no logs yet; see `matrix why {self._subject}`")

    def names(self) -> Mapping[str, str]:
        """Each component with its place."""
        files = {name: f"{DIRECTORY}/{path} in pod {files.pod}" for files in self.files for path, name in files.names.items()}
        return {name: f"container {container} of pod {pod}" for name, (pod, container) in self.containers.items()} | files

    def choose(self, component: str) -> None:
        """Those of that name, else those that contain it. Raises UsageError."""
        names = self.names()
        chosen = {component} & names.keys() or {name for name in names if component in name}
        if not chosen:
            raise UsageError(f"{self._subject} has no component {component!r}; there is {', '.join(names)}")
        self.containers = {name: place for name, place in self.containers.items() if name in chosen}
        for files in self.files:
            files.names = {path: name for path, name in files.names.items() if name in chosen}

    async def show(self, look: Look) -> None:
        """Print them; where there are several, each line says whose it is."""
        prefixed = len(self.names()) > 1
        containers = [self._show_container(name, look, prefixed) for name in self.containers]
        files = [] if look.previous else [self._show_files(files, look, prefixed) for files in self.files if files.names]
        if look.follow:
            await asyncio.gather(*containers, *files)
            return
        for source in (*containers, *files):
            await source

    def _containers(self, pod: Raw) -> Iterator[tuple[str, tuple[str, str]]]:
        name = _short(str(pod["metadata"]["name"]), self._cluster.key.name)
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            own = str(container["name"]).startswith("ray-")
            yield name if own else f"{name}/{container['name']}", (str(pod["metadata"]["name"]), str(container["name"]))

    async def _find_files(self, pod: Raw) -> StoreError | None:
        """What stands in the way of it, if anything does."""
        from matrix_store.kubernetes.pods import run

        running = [c["name"] for c in (pod.get("status") or {}).get("containerStatuses") or () if "running" in (c.get("state") or {})]
        container = next((str(name) for name in running if str(name).startswith("ray-")), None)
        if container is None:
            return None
        files = PodFiles(str(pod["metadata"]["name"]), container)
        whole = self._subject.kind == "MatrixCluster"
        script = f"cd {DIRECTORY} 2>/dev/null || exit 0; {_PARTS if whole else _REPLICAS}; true"
        lead = f"{_short(files.pod, self._cluster.key.name)}/" if whole else ""
        try:
            async for path in run(
                self._connection, self._namespace, files.pod, container, ["sh", "-c", script, f"mx-md-{self._subject.name}"]
            ):
                files.names[path] = lead + (path.removesuffix(".log") if whole else _replica(path))
        except (Forbidden, Unavailable, NotFound) as error:
            return error
        self.files.append(files)
        return None

    async def _show_container(self, name: str, look: Look, prefixed: bool) -> None:
        from matrix_store.kubernetes.pods import output_of

        pod, container = self.containers[name]
        options = {"lines": look.lines, "follow": look.follow, "previous": look.previous}
        async with aclosing(output_of(self._connection, self._namespace, pod, container, **options)) as lines:  # type: ignore[arg-type, type-var]
            async for line in lines:
                click.echo(f"[{name}] {line}" if prefixed else line)

    async def _show_files(self, files: PodFiles, look: Look, prefixed: bool) -> None:
        from matrix_store.kubernetes.pods import run

        paths = [f"{DIRECTORY}/{path}" for path in files.names]
        tail = ["sh", "-c", _FOLLOW, str(look.lines), *paths] if look.follow else ["tail", "-v", "-n", str(look.lines), "--", *paths]
        async with aclosing(run(self._connection, self._namespace, files.pod, files.container, tail)) as lines:  # type: ignore[type-var]
            async for name, line in _told_apart(lines, files.names):
                click.echo(f"[{name}] {line}" if prefixed else line)


async def _told_apart(lines: AsyncIterator[str], names: Mapping[str, str]) -> AsyncIterator[tuple[str, str]]:
    """What `tail -v` writes, each line with the name of its file: an empty line and `==> PATH <==` stand before another's."""
    heads = {f"==> {DIRECTORY}/{path} <==": name for path, name in names.items()}
    current, held = "", False
    async for line in lines:
        if line in heads:
            current, held = heads[line], False
            continue
        if held:
            yield current, ""
        held = not line
        if line:
            yield current, line
    if held:
        yield current, ""


def _short(pod: str, cluster: str) -> str:
    return pod.removeprefix(f"{cluster}-")


def _replica(path: str) -> str:
    """replica/ID (what Serve says of it), output/PID (what it and its engine printed), build/PID: the names of one machine."""
    stem = path.rpartition(".")[0]
    if not path.startswith("serve/"):
        return f"output/{stem.rpartition('-')[2]}"
    return f"{'replica' if stem.startswith('serve/replica_') else 'build'}/{stem.rpartition('_')[2]}"
