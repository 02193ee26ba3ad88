"""What is wrong with a manifest. No pydantic here: who catches these errors need not load it.

ManifestError      one or more problems, each with its place
└── UnknownKind    no kind has that name (of a command line, or of a manifest's `kind`)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Location = tuple[str | int, ...]
"""The way from the root of an object to a field, in wire form: ("spec", "workerGroups", 0, "replicas")."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def path_text(location: Location) -> str:
    """spec.workerGroups[0].replicas; a key that is no plain word is quoted: metadata.labels["a/b"]."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{_printable(part)}"]'
    return text


def _printable(text: str) -> str:
    """One short line, whatever was in it."""
    line = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return line if len(line) <= 80 else f"{line[:77]}..."


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, and what would be right."""

    location: Location
    message: str
    example: str | None = None
    file: str | None = None
    line: int | None = None
    """Counted from 1."""
    document: int | None = None
    """Which document of the file, counted from 0."""

    @property
    def path(self) -> str:
        return path_text(self.location)

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place = f"{place}:{self.line}" if place else f"line {self.line}"
        parts = [part for part in (place, self.path, self.message) if part]
        return ": ".join(parts) + (f" (for example: {self.example})" if self.example else "")


class ManifestError(Exception):
    """A manifest, or an object, that is not what it must be. The text holds one line per problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class UnknownKind(ManifestError):
    """No kind has that name."""

    def __init__(self, message: str, location: Location = ()) -> None:
        super().__init__([Problem(location, message)])
