"""An example value for a field: its own, that of its form, or one that is made of the examples of what it needs."""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from matrix_crds import patterns
from matrix_crds.base import Model, Resource
from matrix_crds.constants import API_VERSION
from matrix_crds.errors import ManifestError, Problem
from matrix_crds.tree import as_model, plain_type, step, wire_fields
from matrix_crds.validation import validate


def example_of(model: type[Model], path: str) -> Any:
    """An example of the field at `path` (spec.workerGroups[].name), in wire form; None where none would tell anything."""
    annotation: Any = model
    found: FieldInfo | None = None
    for name in path.replace("[]", ".[]").split("."):
        if name == "[]":
            annotation = step(annotation, 0)
        elif name:
            owner = as_model(annotation)
            found = wire_fields(owner).get(name) if owner else None
            annotation = found.annotation if found else None
    return None if found is None else _of_field(found)


def whole_example(model: type[Resource]) -> dict[str, Any]:
    """A manifest with what it must have, put right by the examples of the rules that it would break."""
    raw: dict[str, Any] = {"apiVersion": API_VERSION, "kind": model.__name__, "metadata": {"name": patterns.NAME.example}}
    raw["spec"] = example_of(model, "spec") or {}
    try:
        validate(raw)
    except ManifestError as error:
        for problem in error.problems:
            _put_right(raw, problem)
    return raw


def _put_right(raw: dict[str, Any], problem: Problem) -> None:
    target = raw
    for part in problem.location[:-1]:
        target = target[str(part)]
    target |= yaml.safe_load(problem.example or "{}")


def _of_field(field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    inner = _of_type(field.annotation, [*field.metadata])
    default = field.get_default(call_default_factory=True, validated_data={})
    if inner is None and default not in (PydanticUndefined, None, (), {}):
        return default.to_wire() or None if isinstance(default, Model) else _plain(default)
    return inner


def _of_type(annotation: Any, metadata: list[Any]) -> Any:
    known = pattern_of(annotation, metadata)
    if known is not None:
        return known.example
    model = as_model(annotation)
    if model is not None:
        return _of_model(model)
    bare = plain_type(annotation)
    if get_origin(bare) in (tuple, list):
        entry = _of_type(get_args(bare)[0], [])
        return None if entry is None else [entry]
    return True if bare is bool else None


def _of_model(model: type[Model]) -> dict[str, Any] | None:
    """What it must have; None if that is nothing, or can't all be told."""
    needed = {name: _of_field(field) for name, field in wire_fields(model).items() if field.is_required()}
    return needed if needed and None not in needed.values() else None


def pattern_of(annotation: Any, metadata: list[Any]) -> patterns.Pattern | None:
    """The form that a text has, if it is one of ours."""
    if get_origin(annotation) is Annotated:
        return pattern_of(get_args(annotation)[0], [*metadata, *get_args(annotation)[1:]])
    for constraint in metadata:
        parts = [constraint, *getattr(constraint, "metadata", ())]
        found = next((p for part in parts if (p := patterns.BY_REGEX.get(str(getattr(part, "pattern", "") or "")))), None)
        if found:
            return found
    if type(None) in get_args(annotation) and not re.match("typing.Annotated", str(annotation)):
        return next((p for arg in get_args(annotation) if arg is not type(None) and (p := pattern_of(arg, []))), None)
    return None


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value
