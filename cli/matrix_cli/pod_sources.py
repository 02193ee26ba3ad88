"""What the log of a pod is read from: what a container prints, and files inside of it. Each can be opened again where it was left."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from matrix_store.kubernetes.connection import Connection

DIRECTORY = "/tmp/ray/session_latest/logs"
"""Ray's, in every pod of a cluster (docs.ray.io, "Configuring Logging")."""
_FOLLOW = f'cd {DIRECTORY}; pwd -P; wc -l -- "$@"; tail -v -n "$0" -F -- "$@" & cat >/dev/null; kill $!'
"""Says first which directory that is and how many lines each file has. Until stdin ends: without that it would stay in the pod for as
long as nothing is written."""
LATER_LINES = 1000
"""As many at most of what was written before a source was opened that came later, or again."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)")


@dataclass(eq=False)
class Source(ABC):
    """One call to the API server. A source is found once and belongs to its pod by name, through restarts of its container."""

    kind: ClassVar[str]
    pod: str
    container: str
    names: dict[str, str]
    """Of each thing that is read the name that it has here."""
    tail: int
    """Lines to begin with."""

    def narrow(self, wanted: Callable[[str], bool]) -> None:
        """Leave out what has another name."""
        self.names = {thing: name for thing, name in self.names.items() if wanted(name)}

    @abstractmethod
    def places(self) -> Mapping[str, str]:
        """Of each name where that is."""

    @abstractmethod
    def lines(self, connection: Connection, namespace: str, previous: bool) -> AsyncIterator[tuple[str, str]]:
        """The last ones, each with its name; `previous`: of the container before its last restart. Raises StoreError."""

    @abstractmethod
    def followed(self, connection: Connection, namespace: str) -> AsyncIterator[tuple[str, str]]:
        """The last ones and those that come; when it is called again, those that have come since. What has no name is no line of it, but a
        complaint of what reads it. Raises StoreError."""


class Output(Source):
    """What a container prints."""

    kind = "containers"
    _last = ""
    """When the last line that came was written, as the kubelet says it."""
    _together = 0
    """How many have come that were written at that time."""

    def places(self) -> Mapping[str, str]:
        return dict.fromkeys(self.names.values(), f"container {self.container} of pod {self.pod}")

    async def lines(self, connection: Connection, namespace: str, previous: bool) -> AsyncIterator[tuple[str, str]]:
        from matrix_store.kubernetes.pods import output_of

        name = self.names[self.container]
        async with aclosing(output_of(connection, namespace, self.pod, self.container, lines=self.tail, previous=previous)) as lines:  # type: ignore[type-var]
            async for line in lines:
                yield name, line

    async def followed(self, connection: Connection, namespace: str) -> AsyncIterator[tuple[str, str]]:
        from matrix_store.kubernetes.pods import output_of

        name, tail = self.names[self.container], None if self._last else self.tail
        had, repeated = self._last, self._together
        opened = output_of(connection, namespace, self.pod, self.container, lines=tail, since=had, stamps=True, follow=True)
        async with aclosing(opened) as lines:  # type: ignore[type-var]
            async for line in lines:
                stamp, _, text = line.partition(" ")
                if not _STAMP.fullmatch(stamp):  # the kubelet's own words
                    yield "", line
                    continue
                if stamp < had:  # sinceTime counts in seconds
                    continue
                if stamp == had and repeated:
                    repeated -= 1
                    continue
                self._together = self._together + 1 if stamp == self._last else 1
                self._last = stamp
                yield name, text


@dataclass(eq=False)
class Files(Source):
    """Files inside a container; `names` has their paths below DIRECTORY."""

    kind = "files inside the pods"
    _session: str = ""
    """The directory that DIRECTORY was: each start of Ray has its own."""
    _read: dict[str, int] = field(default_factory=dict)
    """Of each path the number of the last line that came."""

    def places(self) -> Mapping[str, str]:
        return {name: f"{DIRECTORY}/{path} in pod {self.pod}" for path, name in self.names.items()}

    async def lines(self, connection: Connection, namespace: str, previous: bool) -> AsyncIterator[tuple[str, str]]:
        from matrix_store.kubernetes.pods import run

        argv = ["tail", "-v", "-n", str(self.tail), "--", *self._paths()]
        async with aclosing(run(connection, namespace, self.pod, self.container, argv)) as lines:  # type: ignore[type-var]
            async for path, line in told_apart(lines, self.names):
                if path:
                    yield self.names[path], line

    async def followed(self, connection: Connection, namespace: str) -> AsyncIterator[tuple[str, str]]:
        from matrix_store.kubernetes.pods import run

        tail = LATER_LINES if self._session else self.tail
        argv = ["sh", "-c", _FOLLOW, str(tail), *self._paths()]
        numbers: dict[str, int] = {}
        async with aclosing(run(connection, namespace, self.pod, self.container, argv)) as lines:  # type: ignore[type-var]
            async for path, line in told_apart(lines, self.names):
                if not path:
                    self._begin(line, tail, numbers)
                    continue
                numbers[path] = numbers.get(path, 0) + 1
                if numbers[path] > self._read.get(path, 0):
                    self._read[path] = numbers[path]
                    yield self.names[path], line

    def _begin(self, line: str, tail: int, numbers: dict[str, int]) -> None:
        """What is printed first: the directory, then how many lines each file has. `numbers` is given that before each one's first."""
        if line.startswith("/"):
            if line != self._session:
                self._session = line
                self._read.clear()
            return
        count, _, path = line.strip().partition(" ")
        path = path.removeprefix(f"{DIRECTORY}/")
        if path in self.names and count.isdigit():
            numbers[path] = max(0, int(count) - tail)
            if int(count) < self._read.get(path, 0):  # another file
                del self._read[path]

    def _paths(self) -> list[str]:
        return [f"{DIRECTORY}/{path}" for path in self.names]


async def told_apart(lines: AsyncIterator[str], paths: Iterable[str]) -> AsyncIterator[tuple[str, str]]:
    """What `tail -v` writes, each line with the path of its file: an empty line and `==> PATH <==` stand before another's. What was
    written before has an empty path."""
    heads = {f"==> {DIRECTORY}/{path} <==": path for path in paths}
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
