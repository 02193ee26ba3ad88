"""Rules between fields, each written once: a CEL expression for the API server and the same as a predicate for everyone else.

A rule stands on the model whose fields it compares (`rules` of the class). What may not change after creation stands on the
spec (`immutable`): on the field itself, `self == oldSelf` would let unset -> set -> unset through. No pydantic here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What must hold between the fields of a model."""

    name: str
    path: tuple[str, ...]
    """The field, from the model on and in its wire form, to which a violation is attributed; () is the model itself."""
    cel: str | None
    """None where the schema holds it in another way (list map keys), or where CEL can't say it."""
    holds: Callable[[Any], bool]
    """Of an instance of the model."""
    message: str
    """What is wrong and what to do."""
    example: str


@dataclass(frozen=True)
class Immutable:
    """A field of a spec (optional or not) that keeps the value that it was created with."""

    field: str
    """Its wire form."""
    message: str

    @property
    def name(self) -> str:
        return f"{self.field}-immutable"

    @property
    def cel(self) -> str:
        """A transition rule for the spec level."""
        new, old = f"self.{self.field}", f"oldSelf.{self.field}"
        return f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"


def exactly_one(name: str, *fields: str, example: str) -> Rule:
    """One of these optional fields, no more and no less. Their wire form must be one word or camelCase of the attribute."""
    present = ", ".join(f"has(self.{f})" for f in fields)
    return Rule(
        name=name,
        path=(),
        cel=f"[{present}].exists_one(given, given)",
        holds=lambda model: sum(getattr(model, snake(f)) is not None for f in fields) == 1,
        message=f"exactly one of {', '.join(fields)} must be given; keep one of them",
        example=example,
    )


def ordered(low: str, high: str, example: str) -> Rule:
    """low <= high; both always have a value."""
    return Rule(
        name=f"{low}-{high}",
        path=(low,),
        cel=f"self.{low} <= self.{high}",
        holds=lambda model: bool(getattr(model, snake(low)) <= getattr(model, snake(high))),
        message=f"{low} must not be more than {high}; lower {low} or raise {high}",
        example=example,
    )


def unique_names(field: str, example: str) -> Rule:
    """The entries of a list have different names. The API server holds it by list map keys."""
    return Rule(
        name=f"{field}-unique",
        path=(field,),
        cel=None,
        holds=lambda model: len({entry.name for entry in getattr(model, snake(field))}) == len(getattr(model, snake(field))),
        message="two entries have the same name; give each its own",
        example=example,
    )


def snake(wire: str) -> str:
    """The attribute of a wire field: workerGroups -> worker_groups."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in wire)
