"""The forms that texts of site.yaml may have. What goes into a directive has no blank (another option would begin), no newline (a command
would) and nothing that a shell reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic_core import PydanticCustomError


@dataclass(frozen=True)
class Form:
    """A pattern, and the words of its error."""

    pattern: str
    words: str
    example: str

    def check(self, value: str) -> str:
        """Raises PydanticCustomError."""
        if re.fullmatch(self.pattern, value) is None:
            raise PydanticCustomError("form", "must be {words} (for example: {example})", {"words": self.words, "example": self.example})
        return value


NAME = Form(r"[a-z]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and '-', beginning with a letter", "fair")
WORD = Form(r"[A-Za-z0-9][A-Za-z0-9_.,+@:-]*", "a plain name without blanks, quotes or characters of a shell", "gpu-long")
PATH = Form(r"/[A-Za-z0-9_./,+@:=-]*", "a path that begins with '/', of letters, digits and _./,+@:=-", "/scratch/alice/matrix")
FILE = Form(r"[/~][^\x00-\x1f\x7f]*", "a path that begins with '/' or '~'", "~/.config/matrix/token")
LINE = Form(r"[^\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]*", "one line", "module load cuda")
DIRECTIVE = Form(
    r"--[a-z][a-z0-9-]*(=[A-Za-z0-9_.,+@:/&|*()\[\]=%-]+)?", "one option of sbatch, --name or --name=value, without blanks", "--exclusive"
)
TIME = Form(r"([0-9]{1,4}-)?[0-9]{1,4}:[0-5][0-9]:[0-5][0-9]", "hours:minutes:seconds, or days-hours:minutes:seconds", "2-00:00:00")
PORTS = Form(r"[0-9]{4,5}-[0-9]{4,5}", "two ports with '-' between", "20000-31999")
ADDRESS = Form(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}", "host:port", "matrix.example.org:8474")

_OURS = frozenset(
    (
        *("account", "array", "chdir", "comment", "cpus-per-task", "dependency", "error", "export", "export-file"),
        *("gpus", "gpus-per-node", "gres", "hold", "input", "job-name", "mem", "mem-per-cpu", "mem-per-gpu", "no-requeue", "nodes"),
        *("ntasks", "ntasks-per-node", "open-mode", "output", "parsable", "partition", "qos", "requeue", "signal", "test-only", "time"),
        *("uid", "gid", "wait", "wrap", "clusters"),
    )
)
"""What the bridge writes itself, or what would take the job from its hands."""


def not_ours(directive: str) -> str:
    """Raises PydanticCustomError. sbatch takes the beginning of an option for all of it, and the last one counts."""
    name = directive.removeprefix("--").partition("=")[0]
    if any(ours == name or ours.startswith(name) for ours in _OURS):
        raise PydanticCustomError("ours", "--{name} is set by the bridge: see the profile's other settings", {"name": name})
    return directive


def as_text(value: object) -> object:
    """A number alone is one of minutes for Slurm and of seconds for others: it is refused by its form."""
    return str(value) if isinstance(value, int) else value


def ports(text: str) -> range:
    """Of `first-last`. Raises ValueError."""
    first, last = (int(part) for part in text.split("-"))
    if not 1024 <= first < last <= 65_535:
        raise ValueError("ports are from 1024 to 65535, the lower one first")
    return range(first, last + 1)
