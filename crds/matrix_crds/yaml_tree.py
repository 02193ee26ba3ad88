"""YAML to plain data that remembers its lines. The one module that knows PyYAML's parser.

It reads PyYAML's event stream itself, so that nesting and aliases stay bounded while they are read, keys given twice are seen, and
scalars are what JSON has, as for kubectl (matrix_crds.scalars). Tags are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

from matrix_crds.errors import Location, Problem, path_text
from matrix_crds.plain import MAX_DEPTH
from matrix_crds.scalars import resolved

MAX_NODES = 100_000
"""How many values a file may hold, each alias counted as often as it is used."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"

_SYNTAX: tuple[tuple[str, str], ...] = (
    ("tab character", "a tab can't be used for indentation; use spaces"),
    ("mapping values are not allowed", "a ':' where no value can begin; check the indentation, or put text that holds ': ' in quotes"),
    ("could not find expected ':'", "a line without ':'; check the indentation and the quotes above it"),
    ("did not find expected ',' or", "a bracket that is not closed, or a comma that is missing"),
    ("did not find expected (key|'-' indicator)|block mapping", "the indentation does not fit the lines above"),
    ("unexpected end of stream|document start", "the file ends inside quotes or brackets"),
    ("nesting depth", f"nested more than {MAX_DEPTH} deep; make it flatter"),
    ("undefined alias", "an alias (*name) without its anchor (&name) before it"),
    ("start any token", "a character that can't begin a value; put the text in quotes"),
)
"""What PyYAML's words mean for a person."""


class YamlFault(Exception):
    """The text can't be read on: what is wrong, and on which line (from 1)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass
class Node:
    """A value with the line on which it stands (from 1)."""

    line: int
    scalar: Any = None
    mapping: dict[str, tuple[int, Node]] | None = None
    """Each key with its own line."""
    entries: list[Node] | None = None
    size: int = field(init=False)
    """How many values it is made of."""
    depth: int = field(init=False)
    """How deep it nests."""

    def __post_init__(self) -> None:
        inner = self.entries or [node for _, node in (self.mapping or {}).values()]
        self.size = 1 + sum(node.size for node in inner)
        self.depth = max((node.depth + 1 for node in inner), default=0)

    def plain(self) -> Any:
        """The value as JSON types."""
        if self.mapping is not None:
            return {key: inner.plain() for key, (_, inner) in self.mapping.items()}
        if self.entries is not None:
            return [entry.plain() for entry in self.entries]
        return self.scalar

    def line_of(self, location: Location) -> int:
        """The line of what is at the location, or of the nearest thing around it that is there."""
        node, line = self, self.line
        for part in location:
            if node.mapping is not None and part in node.mapping:
                line, node = node.mapping[str(part)]
            elif node.entries is not None and isinstance(part, int) and part < len(node.entries):
                node = node.entries[part]
                line = node.line
            else:
                break
        return line


@dataclass
class Document:
    """A document of a file, and what is wrong with its keys."""

    root: Node
    problems: list[Problem] = field(default_factory=list)


def documents(text: str) -> Iterator[Document]:
    """The documents that are not empty. Raises YamlFault when the text can't be read on."""
    reader = _Reader(text)
    try:
        yield from reader.documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        index = mark.line if mark else 0
        lines = text.splitlines()
        shown = lines[index] if index < len(lines) else ""
        raise YamlFault(index + 1, _syntax_words(f"{error.problem or ''} {error.context or ''}", shown)) from None
    except yaml.YAMLError as error:
        raise YamlFault(1, _syntax_words(str(error), "")) from None


def _syntax_words(problem: str, line: str) -> str:
    """What a parser's complaint about a line means. libyaml does not name the character that it complains about."""
    if "start any token" in problem and re.match(r"\s*\t", line):
        problem = "tab character"
    for pattern, words in _SYNTAX:
        if re.search(pattern, problem):
            return f"is not YAML: {words}"
    return f"is not YAML: {' '.join(problem.split())}"


class _Reader:
    """Builds nodes from the events of one file."""

    def __init__(self, text: str) -> None:
        self._events = iter(yaml.parse(text, Loader=_LOADER))
        self._nodes = 0
        self._anchors: dict[str, Node] = {}
        self._problems: list[Problem] = []

    def documents(self) -> Iterator[Document]:
        for event in self._events:
            if isinstance(event, events.DocumentStartEvent):
                self._anchors, self._problems = {}, []
                root = self._node(next(self._events), ())
                if root.mapping is not None or root.entries is not None or root.scalar is not None:
                    yield Document(root, self._problems)

    def _node(self, event: events.Event, location: Location) -> Node:
        line = _line(event)
        if len(location) > MAX_DEPTH:
            raise YamlFault(line, f"is nested more than {MAX_DEPTH} deep; make it flatter")
        node = self._alias(event, line) if isinstance(event, events.AliasEvent) else self._made(event, line, location)
        if len(location) + node.depth > MAX_DEPTH:
            raise YamlFault(line, f"is nested more than {MAX_DEPTH} deep (by its aliases); make it flatter")
        self._nodes += node.size if isinstance(event, events.AliasEvent) else 1
        if self._nodes > MAX_NODES:
            raise YamlFault(
                line, f"has more than {MAX_NODES} values (aliases counted as often as they are used); split it into several files"
            )
        return node

    def _alias(self, event: events.AliasEvent, line: int) -> Node:
        if event.anchor not in self._anchors:
            raise YamlFault(line, f"is not YAML: the alias *{event.anchor} has no complete anchor &{event.anchor} before it")
        return self._anchors[event.anchor]

    def _made(self, event: events.Event, line: int, location: Location) -> Node:
        if isinstance(event, events.MappingStartEvent):
            _check_tag(event.tag, "map", line)
            node = self._mapping(line, location)
        elif isinstance(event, events.SequenceStartEvent):
            _check_tag(event.tag, "seq", line)
            node = self._sequence(line, location)
        else:
            assert isinstance(event, events.ScalarEvent)
            node = Node(line, scalar=_scalar(event, line))
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, line: int, location: Location) -> Node:
        entries: list[Node] = []
        while not isinstance(event := next(self._events), events.SequenceEndEvent):
            entries.append(self._node(event, (*location, len(entries))))
        return Node(line, entries=entries)

    def _mapping(self, line: int, location: Location) -> Node:
        own: dict[str, tuple[int, Node]] = {}
        merged: list[Node] = []
        while not isinstance(event := next(self._events), events.MappingEndEvent):
            key_line = _line(event)
            key = self._key(event, location)
            value = self._node(next(self._events), (*location, key))
            if key == "<<" and isinstance(event, events.ScalarEvent) and event.implicit[0]:
                merged += value.entries if value.entries is not None else [value]
            elif key in own:
                self._problems.append(Problem((*location, key), f"is given twice (first on line {own[key][0]}); remove one", line=key_line))
            else:
                own[key] = (key_line, value)
        mapping = self._merge(own, merged, line)
        return Node(line, mapping=mapping)

    def _merge(self, own: dict[str, tuple[int, Node]], merged: list[Node], line: int) -> dict[str, tuple[int, Node]]:
        """`<<: *anchor`: the first to have a key wins, the mapping itself before all."""
        result = dict(own)
        for node in merged:
            if node.mapping is None:
                raise YamlFault(line, "is not YAML: << takes mappings, such as <<: *anchor")
            result = {**node.mapping, **result}
            self._nodes += node.size
        return result

    def _key(self, event: events.Event, location: Location) -> str:
        line = _line(event)
        where = path_text(location) or "the document"
        fault = YamlFault(line, f"has a mapping or list as a key in {where}; keys are text (for templates in braces, put quotes around)")
        if isinstance(event, events.CollectionStartEvent):
            raise fault
        node = self._alias(event, line) if isinstance(event, events.AliasEvent) else self._node(event, location)
        if node.mapping is not None or node.entries is not None:
            raise fault
        if isinstance(node.scalar, str):
            return node.scalar
        shown = event.value if isinstance(event, events.ScalarEvent) else str(node.scalar)
        self._problems.append(Problem((*location, shown), f'is a key that is not text; write "{shown}" in quotes', line=line))
        return shown


def _line(event: events.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _check_tag(tag: str | None, wanted: str, line: int) -> None:
    if tag not in (None, "!", _TAG + wanted):
        raise YamlFault(line, f"has the tag {tag}, which is not supported; write plain values")


def _scalar(event: events.ScalarEvent, line: int) -> Any:
    tag = event.tag
    if tag in ("!", f"{_TAG}str") or (tag is None and not event.implicit[0]):
        return event.value
    if tag is not None and tag not in {f"{_TAG}{name}" for name in ("int", "float", "bool", "null")}:
        raise YamlFault(line, f"has the tag {tag}, which is not supported; write plain values")
    return resolved(event.value)
