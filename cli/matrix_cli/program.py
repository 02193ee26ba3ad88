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
_COMMAND = re.compile(r"(?<!kubectl )(?<![\w/.-])matrix(?=\s+(?:[a-z-]+\b|--))")
"""`matrix` before a word or an option; what stands in a path or another name is none of ours."""

_current = MATRIX


def use(program: Program) -> None:
    """From now on this process is that one."""
    global _current
    _current = program


def current() -> Program:
    """Which one this process is."""
    return _current


def spelled(text: str) -> str:
    """Words in which commands are named, with the name that their reader types."""
    return _COMMAND.sub(_current.name, text) if _current.plugin else text
