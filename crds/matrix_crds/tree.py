"""Finding one's way in the models: which field, and of which model, a location points at."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from matrix_crds.base import Model
from matrix_crds.errors import Location


def wire_fields(model: type[Model]) -> dict[str, FieldInfo]:
    """The model's fields by their wire names."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def plain_type(annotation: Any) -> Any:
    """The annotation without Annotated[...] and `| None`."""
    if get_origin(annotation) is Annotated:
        return plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return plain_type(next(arg for arg in get_args(annotation) if arg is not type(None)))
    return annotation


def as_model(annotation: Any) -> type[Model] | None:
    """The model that the annotation stands for, or None."""
    plain = plain_type(annotation)
    return plain if isinstance(plain, type) and issubclass(plain, Model) else None


def step(annotation: Any, part: str | int) -> Any:
    """The annotation one step further in: a field, a list entry or a map value. None where there is none."""
    model = as_model(annotation)
    if model is not None:
        field = wire_fields(model).get(str(part))
        return field.annotation if field else None
    arguments = get_args(plain_type(annotation))
    if not arguments:
        return None
    return arguments[0] if isinstance(part, int) else arguments[-1]


def walk(model: type[Model], location: Location) -> Any:
    """The annotation at a location, or None."""
    annotation: Any = model
    for part in location:
        annotation = step(annotation, part)
    return annotation


def field_at(model: type[Model], location: Location) -> FieldInfo | None:
    """The field at a location; None for list entries and for what does not exist."""
    if not location or isinstance(location[-1], int):
        return None
    owner = as_model(walk(model, location[:-1]))
    return wire_fields(owner).get(location[-1]) if owner else None


def models_below(model: type[Model], location: Location = ()) -> Iterator[tuple[Location, type[Model]]]:
    """The model and all those inside it, each with its location; "[]" stands for any entry of a list."""
    yield location, model
    for wire, field in wire_fields(model).items():
        inner, place = field.annotation, (*location, wire)
        if as_model(inner) is None and get_args(plain_type(inner)):
            inner, place = step(inner, 0), (*location, f"{wire}[]")
        below = as_model(inner)
        if below is not None:
            yield from models_below(below, place)
