"""Where the logs of an object on Kubernetes are: what its pods' containers print, and the files that Ray and its actors write inside.

The first asks for the right to read pods/log; the second for pods/exec, since files in a pod can be read in no other way. Each source
stands alone: what keeps one from being read is told, and the others are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from matrix_cli.pod_sources import DIRECTORY, LATER_LINES, Files, Output, Source
from matrix_client.errors import UsageError
from matrix_crds.keys import ObjectKey
from matrix_crds.on_kubernetes import UID_LABEL
from matrix_store.errors import Forbidden, NotFound, StoreError, Unavailable
from matrix_store.port import Raw, StoredObject

if TYPE_CHECKING:
    from matrix_client.kubernetes_context import KubernetesContext

_PARTS = "ls raylet.* gcs_server.* dashboard.log monitor.* serve/*.log 2>/dev/null | grep -v mx-md-"
"""Those of Ray itself: a model's replicas are their deployments'."""
_REPLICAS = (
    'ls serve/*"$0"_*.log 2>/dev/null; head -v -c 1024 worker-*.out 2>/dev/null | '
    r'sed -n "/^==> .* <==\$/h; /^:actor_name:ServeReplica:$0:/{x; s/^==> //; s/ <==\$//p}"'
)
"""Those of an application's replicas. Ray writes at the head of worker-<id>-<job>-<pid>.out who it was; nothing else is read of them."""
LIST_SECONDS = 30.0
"""For the names of the files in one pod."""
LISTED_AT_ONCE = 8
"""Pods in which they are looked for: each takes a connection of its own to the API server, and a program in the pod."""


@dataclass(frozen=True)
class Look:
    """What is wanted of the logs."""

    lines: int
    follow: bool
    previous: bool


class PodLogs:
    """The sources in the pods of one cluster."""

    def __init__(self, context: KubernetesContext, cluster: StoredObject, subject: ObjectKey, look: Look) -> None:
        self.connection = context.connection
        self.namespace = cluster.key.namespace
        self.whole = subject.kind == "MatrixCluster"
        """Whether containers are meant, too: a deployment has only files."""
        self.outputs: Sequence[Output] = ()
        self.files: Sequence[Files] = ()
        """Of the pods that were there when they were looked for last."""
        self.several = False
        """Whether a line needs to say whose it is."""
        self._api = context.api
        self._cluster = cluster
        self._subject = subject
        self._previous = look.previous
        self._tail = look.lines
        self._wanted: Callable[[str], bool] = lambda name: True
        self._containers: dict[tuple[str, str], Output] = {}
        """By pod's uid and container."""
        self._opened: dict[str, list[Files]] = {}
        """By pod. What was found in one look is read in one call."""
        self._seen: set[tuple[str, str]] = set()
        """Pods and paths in them."""
        self._forbidden: set[str] = set()
        """By uid, pods whose files may not be read: they are not asked for again."""
        self._listings = asyncio.Semaphore(LISTED_AT_ONCE)
        self._told: dict[str, str] = {}

    @property
    def sources(self) -> Sequence[Source]:
        return (*self.outputs, *self.files)

    async def find(self) -> None:
        """What there is. Raises NotFound when there is nothing, UsageError, Forbidden, Unavailable."""
        if self._previous and not self.whole:
            raise UsageError(f"a replica's files end with its container; see `matrix logs {self._cluster.key} --previous`")
        pods = await self.pods()
        self.find_outputs(pods)
        refused = {} if self._previous else await self.find_files(pods)
        if not self.sources:
            raise next(iter(refused.values()), NotFound(self._nothing()))
        self.tell_of_files(refused)  # not before it is known that there is something to show
        self._tail = LATER_LINES

    def names(self) -> Mapping[str, str]:
        """Each component with its place."""
        return {name: place for source in self.sources for name, place in source.places().items()}

    def choose(self, component: str) -> None:
        """Those of that name, else those that contain it. Raises UsageError."""
        names = self.names()
        if not any(component in name for name in names):
            raise UsageError(f"{self._subject} has no component {component!r}; there is {', '.join(names)}")
        self._wanted = (lambda name: name == component) if component in names else (lambda name: component in name)
        self._set(self.outputs, self.files)

    async def pods(self) -> list[Raw]:
        """Raises StoreError."""
        from matrix_store.kubernetes.pods import labelled

        return await labelled(self._api, self.namespace, UID_LABEL, self._cluster.uid)

    def find_outputs(self, pods: Iterable[Raw]) -> None:
        """Of a container that was there before, the same one."""
        if not self.whole:
            return
        found = []
        for pod in pods:
            for name, container in self._containers_of(pod):
                new = Output(_name(pod), container, {container: name}, self._tail)
                found.append(self._containers.setdefault((str(pod["metadata"]["uid"]), container), new))
        self._set(found, self.files)

    async def find_files(self, pods: Sequence[Raw]) -> Mapping[str, StoreError]:
        """What stands in the way of it, by pod."""
        refused: dict[str, StoreError] = {}
        for pod, found in zip(pods, await asyncio.gather(*map(self._paths, pods)), strict=True):
            if isinstance(found, StoreError):
                refused[_name(pod)] = found
            elif found:
                self._opened.setdefault(_name(pod), []).append(found)
        self._set(self.outputs, [files for pod in pods for files in self._opened.get(_name(pod), ())])
        return refused

    def tell(self, subject: str, problem: object) -> None:
        """Once, until something else is to be told of the subject, or it is `well` again."""
        if self._told.get(subject) != str(problem):
            self._told[subject] = str(problem)
            click.echo(click.style("note: ", fg="yellow", bold=True) + f"{subject}: {problem}", err=True)

    def well(self, subject: str) -> None:
        self._told.pop(subject, None)

    def tell_of(self, source: Source, error: StoreError) -> None:
        self._tell_of(source.kind, self.title(source), error)

    def tell_of_files(self, refused: Mapping[str, StoreError]) -> None:
        for pod, error in refused.items():
            self._tell_of(Files.kind, f"files of {self._short(pod)}", error)

    def title(self, source: Source) -> str:
        """What a note calls it."""
        return f"files of {self._short(source.pod)}" if isinstance(source, Files) else next(iter(source.names.values()))

    def _tell_of(self, kind: str, subject: str, error: StoreError) -> None:
        """A right that is missing is missing for all of a kind, and told once."""
        if not isinstance(error, Forbidden):
            self.tell(subject, error)
        elif kind not in self._told:
            self.tell(kind, error)

    def _set(self, outputs: Iterable[Output], files: Iterable[Files]) -> None:
        for source in (*outputs, *files):
            source.narrow(self._wanted)
        self.outputs = [source for source in outputs if source.names]
        self.files = [source for source in files if source.names]
        self.several = len(self.names()) > 1

    def _nothing(self) -> str:
        if self._previous:
            return f"no container of {self._subject} has been started again: there is no output of a previous one"
        return f"{self._subject} has no logs yet; see `matrix why {self._subject}`"

    def _containers_of(self, pod: Raw) -> Iterator[tuple[str, str]]:
        """The names here, and the containers'. Without those that have no previous one, where that is asked for."""
        for status in _statuses(pod):
            container, short = str(status["name"]), self._short(_name(pod))
            if not self._previous or "terminated" in (status.get("lastState") or {}):
                yield short if container.startswith("ray-") else f"{short}/{container}", container

    async def _paths(self, pod: Raw) -> Files | StoreError | None:
        """The files that were not known."""
        from matrix_store.kubernetes.pods import run

        running = (str(status["name"]) for status in _statuses(pod) if "running" in (status.get("state") or {}))
        container = next((name for name in running if name.startswith("ray-")), None)
        if container is None or pod["metadata"]["uid"] in self._forbidden:
            return None
        script = f"cd {DIRECTORY} 2>/dev/null || exit 0; {_PARTS if self.whole else _REPLICAS}; true"
        argv = ["sh", "-c", script, f"mx-md-{self._subject.name}"]
        try:
            async with self._listings, asyncio.timeout(LIST_SECONDS):
                paths = [path async for path in run(self.connection, self.namespace, _name(pod), container, argv)]
        except TimeoutError:
            return Unavailable(f"they were not listed within {LIST_SECONDS:g} s")
        except NotFound:
            return None  # it went
        except StoreError as error:
            if isinstance(error, Forbidden):
                self._forbidden.add(str(pod["metadata"]["uid"]))
            return error
        new = {path: self._called(pod, path) for path in paths if (_name(pod), path) not in self._seen}
        self._seen.update((_name(pod), path) for path in new)
        return Files(_name(pod), container, new, self._tail) if new else None

    def _called(self, pod: Raw, path: str) -> str:
        return f"{self._short(_name(pod))}/{path.removesuffix('.log')}" if self.whole else replica(path)

    def _short(self, pod: str) -> str:
        return pod.removeprefix(f"{self._cluster.key.name}-")


def replica(path: str) -> str:
    """replica/ID (what Serve says of it), output/PID (what it and its engine printed), build/PID: the names of one machine."""
    stem = path.rpartition(".")[0]
    if not path.startswith("serve/"):
        return f"output/{stem.rpartition('-')[2]}"
    return f"{'replica' if stem.startswith('serve/replica_') else 'build'}/{stem.rpartition('_')[2]}"


def _name(pod: Raw) -> str:
    return str(pod["metadata"]["name"])


def _statuses(pod: Raw) -> Sequence[Raw]:
    return (pod.get("status") or {}).get("containerStatuses") or ()
