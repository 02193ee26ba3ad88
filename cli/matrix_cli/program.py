"""What this command is called: `matrix`, or `kubectl matrix` as kubectl's plugin. Whoever starts it says so before anything else."""

from __future__ import annotations

import re
from dataclasses import dataclass

from matrix_client.context import KUBERNETES, LOCAL


@dataclass(frozen=True)
class Program:
    """One of the two."""

    name: str
    """As it is typed."""
    context: str
    """Where the objects live when nothing is said."""
    plugin: bool = False
    """Of kubectl: the names of contexts are those of the kubeconfig."""


MATRIX = Program("matrix", LOCAL)
PLUGIN = Program("kubectl matrix", KUBERNETES, plugin=True)
OF_NO_PLACE = ("bridge", "completion")
"""Commands that are the same wherever the objects live; kubectl's plugin has none of them."""
_COMMAND = re.compile(r"(?:(?<=`)|(?<=\$\())matrix(?=\s+([a-z-]+))")
"""A command that is named in a text: in backticks, or in `$(...)`."""

_current = MATRIX


def use(program: Program) -> None:
    """From now on this process is that one."""
    global _current
    _current = program


def current() -> Program:
    """Which one this process is."""
    return _current


def spelled(text: str, place: str = "") -> str:
    """A text in which commands are named as `matrix ...`, with the name that its reader types. `place`: the options that a command
    needs to mean the same objects."""

    def begun(command: re.Match[str]) -> str:
        if command[1] in OF_NO_PLACE:
            return MATRIX.name
        return _current.name if command[1].startswith("-") or not place else f"{_current.name} {place}"

    return _COMMAND.sub(begun, text)
