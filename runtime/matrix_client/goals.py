"""What one can wait for, as it is written: `condition=Ready`, `condition=X=False`, `delete`."""

from __future__ import annotations

from dataclasses import dataclass

from matrix_client.errors import UsageError


@dataclass(frozen=True)
class ConditionIs:
    type: str = "Ready"
    status: str = "True"

    def __str__(self) -> str:
        return self.type if self.status == "True" else f"{self.type}={self.status}"


@dataclass(frozen=True)
class Deleted:
    def __str__(self) -> str:
        return "deletion"


@dataclass(frozen=True)
class RolledOut:
    """What runs is what the spec says, and all of it answers."""

    def __str__(self) -> str:
        return "rolled out"


Goal = ConditionIs | Deleted | RolledOut


def parse(text: str) -> Goal:
    """Read a goal as kubectl wait writes it. Raises UsageError."""
    if text == "delete":
        return Deleted()
    word, _, rest = text.partition("=")
    type_, _, status = rest.partition("=")
    status = status.capitalize() or "True"
    if word != "condition" or not type_ or status not in {"True", "False", "Unknown"}:
        raise UsageError(f"can't wait for {text!r}; write condition=Ready, condition=Ready=False or delete")
    return ConditionIs(type_, status)
