"""Reading manifests: all of a file, validated before anything is done with any of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from matrix_crds.base import Resource
from matrix_crds.errors import Location, ManifestError, Problem
from matrix_crds.keys import ObjectKey
from matrix_crds.validation import applicable, validate
from matrix_crds.yaml_tree import Document, Node, YamlFault, documents

__all__ = ["MAX_BYTES", "Manifest", "applicable", "load_manifests", "validate"]

MAX_BYTES = 1024 * 1024
"""The largest file."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Manifest:
    """A document of a file that describes an object, and is valid."""

    raw: dict[str, Any]
    """As the user wrote it."""
    resource: Resource
    """What it says, with defaults; without status."""
    file: str
    document: int
    """Which document of the file, counted from 0."""
    _node: Node = field(repr=False, compare=False)
    _prefix: Location = field(default=(), repr=False, compare=False)

    @property
    def key(self) -> ObjectKey:
        return self.resource.key

    def line_of(self, location: Location = ()) -> int:
        """The line (from 1) of a field, or of the nearest thing around it that was written."""
        return self._node.line_of((*self._prefix, *location))

    def locate(self, error: ManifestError) -> ManifestError:
        """The same problems (of an apply, say) with the file and the lines of this manifest."""
        return ManifestError([_placed(problem, self.file, self.document, self._node, self._prefix) for problem in error.problems])


def load_manifests(text: str | bytes, filename: str) -> list[Manifest]:
    """All objects of a YAML or JSON file, in its order. Raises ManifestError with all problems of all documents."""
    manifests: list[Manifest] = []
    problems: list[Problem] = []
    try:
        for index, document in enumerate(documents(_decoded(text))):
            found, faults = _objects(document, index, filename)
            manifests += found
            problems += faults
    except YamlFault as fault:
        # What comes after can't be read; what came before may have problems of its own.
        problems.append(Problem((), fault.message, file=filename, line=fault.line))
    problems += _repeated(manifests)
    if not manifests and not problems:
        problems.append(Problem((), "has no manifest in it", file=filename))
    if problems:
        raise ManifestError(sorted(problems, key=lambda problem: problem.line or 0))
    return manifests


def _objects(document: Document, index: int, filename: str) -> tuple[list[Manifest], list[Problem]]:
    """The objects of a document: one, or those of a `kind: List` (what `get -o yaml` prints of several)."""
    manifests: list[Manifest] = []
    problems = [replace(problem, file=filename, document=index) for problem in document.problems]
    raw = document.root.plain()
    for prefix, part in _parts(raw):
        try:
            resource = validate(part)
            manifests.append(Manifest(part, resource, filename, index, document.root, prefix))
        except ManifestError as error:
            problems += [_placed(problem, filename, index, document.root, prefix) for problem in error.problems]
    return manifests, problems


def _parts(raw: Any) -> Iterator[tuple[Location, Any]]:
    if isinstance(raw, dict) and raw.get("kind") == "List" and isinstance(raw.get("items"), list):
        yield from ((("items", index), item) for index, item in enumerate(raw["items"]))
    else:
        yield (), raw


def _placed(problem: Problem, filename: str, index: int, root: Node, prefix: Location) -> Problem:
    location = (*prefix, *problem.location)
    return replace(problem, location=location, file=filename, document=index, line=root.line_of(location))


def _repeated(manifests: list[Manifest]) -> Iterator[Problem]:
    first: dict[ObjectKey, Manifest] = {}
    for manifest in manifests:
        before = first.setdefault(manifest.key, manifest)
        if before is not manifest:
            name: Location = ("metadata", "name")
            message = f"{manifest.key} is in this file twice (first on line {before.line_of(name)}); remove one or give it another name"
            problem = Problem(name, message)
            yield _placed(problem, manifest.file, manifest.document, manifest._node, manifest._prefix)


def _decoded(text: str | bytes) -> str:
    """The text, if it is text and not too much. Raises YamlFault."""
    size = len(text) if isinstance(text, bytes) else len(text.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        raise YamlFault(1, f"is {size / 1024 / 1024:.1f} MiB; a file may have {MAX_BYTES // 1024 // 1024} MiB, split it into several")
    if isinstance(text, bytes):
        text = _utf8(text)
    text = text.removeprefix("\ufeff")
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        raise YamlFault(line, f"is not a text file: it holds the character {bad[0]!r}; is it the right file?")
    return text


def _utf8(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise YamlFault(line, f"is not UTF-8 text (byte 0x{text[error.start]:02x}); save it as UTF-8") from None
