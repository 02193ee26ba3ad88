"""From pydantic's errors to Problems in our words: what is wrong, what was given, what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sized
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from matrix_crds import patterns
from matrix_crds.base import Model
from matrix_crds.errors import Location, Problem, path_text
from matrix_crds.plain import describe
from matrix_crds.rules import Rule
from matrix_crds.tree import as_model, field_at, walk, wire_fields


def explain(error: ValidationError, model: type[Model]) -> Iterator[Problem]:
    """A problem for each thing that pydantic found; one for each broken rule."""
    for details in error.errors(include_url=False):
        location = tuple(part for part in details["loc"] if part != "[key]")
        broken: tuple[Rule, ...] = details.get("ctx", {}).get("broken", ())
        for rule in broken:
            yield Problem((*location, *rule.path), rule.message, rule.example)
        if not broken:
            yield _problem(details, location, model)


def _problem(details: ErrorDetails, location: Location, model: type[Model]) -> Problem:
    if details["type"] == "extra_forbidden":
        return Problem(location, _unknown_field(location, model))
    if details["loc"] and details["loc"][-1] == "[key]":
        return Problem(location, f"is a key that can't be used: it {_words(details)}")
    return Problem(location, _words(details), _example(details, location, model))


def _words(details: ErrorDetails) -> str:
    words = _WORDS.get(details["type"])
    if words is None:
        message = details["msg"]
        return f"is not valid: {message[:1].lower()}{message[1:]}"
    return words(details.get("ctx", {}), details.get("input"))


def _got(sentence: str) -> Callable[[dict[str, Any], object], str]:
    return lambda context, given: f"{sentence}, got {describe(given)}"


def _bound(sentence: str, key: str) -> Callable[[dict[str, Any], object], str]:
    return lambda context, given: f"must be {sentence} {context[key]}, got {describe(given)}"


def _text(context: dict[str, Any], given: object) -> str:
    hint = "; put it in quotes" if isinstance(given, (bool, int, float)) else ""
    return f"must be text, got {describe(given)}{hint}"


def _pattern(context: dict[str, Any], given: object) -> str:
    return f"must be {patterns.BY_REGEX[context['pattern']].words}, got {describe(given)}"


def _choice(context: dict[str, Any], given: object) -> str:
    allowed = re.findall(r"'([^']*)'", context["expected"])
    near = nearest(given, allowed) if isinstance(given, str) else None
    return f"must be one of {', '.join(allowed)}, got {describe(given)}" + (f"; did you mean {near}?" if near else "")


def _entries(context: dict[str, Any], given: object) -> str:
    return f"must have at most {context['max_length']} entries, has {len(given) if isinstance(given, Sized) else context['actual_length']}"


def _characters(context: dict[str, Any], given: object) -> str:
    return f"must have at most {context['max_length']} characters, has {len(str(given))}"


_WORDS: dict[str, Callable[[dict[str, Any], object], str]] = {
    "missing": lambda context, given: "is missing; add it",
    "string_type": _text,
    "string_too_short": lambda context, given: "must not be empty",
    "string_too_long": _characters,
    "string_pattern_mismatch": _pattern,
    "int_type": _got("must be a whole number"),
    "int_from_float": _got("must be a whole number"),
    "float_type": _got("must be a number"),
    "bool_type": _got("must be true or false"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than_equal": _bound("at most", "le"),
    "enum": _choice,
    "literal_error": _choice,
    "model_type": _got("must be a mapping of fields"),
    "dict_type": _got("must be a mapping"),
    "tuple_type": _got("must be a list"),
    "too_long": _entries,
    "quantity_float": _got("must not be a fraction; put it in quotes or use a suffix (500m, 1536Mi)"),
    "datetime_type": _got("must be a time such as 2026-01-31T12:00:00Z"),
    "timezone_aware": _got("must be a time with its zone, such as 2026-01-31T12:00:00Z"),
    "datetime_parsing": _got("must be a time such as 2026-01-31T12:00:00Z"),
    "time_form": lambda context, given: f"{context['words']}, got {describe(given)}",
    "domain_too_long": lambda context, given: str(context["words"]),
    "annotations_too_large": lambda context, given: str(context["words"]),
    "datetime_from_date_parsing": _got("must be a time such as 2026-01-31T12:00:00Z"),
}
"""What pydantic's error types (https://docs.pydantic.dev/latest/errors/validation_errors/) are called here."""


def _unknown_field(location: Location, model: type[Model]) -> str:
    owner = as_model(walk(model, location[:-1]))
    return unknown_field(location, list(wire_fields(owner)) if owner else [])


def unknown_field(location: Location, known: list[str]) -> str:
    """What to say of a field that does not exist, given those that do."""
    place = path_text(location[:-1]) or "the manifest"
    near = nearest(str(location[-1]), known)
    if near:
        return f"is not a field of {place}; did you mean {near}?"
    return f"is not a field of {place}; " + (f"its fields are {', '.join(known)}" if known else "it has no fields")


def nearest(text: str, known: list[str]) -> str | None:
    """The known name that was probably meant; case and underscores do not count."""
    bare = {name.lower(): name for name in reversed(known)}
    near = difflib.get_close_matches(text.lower().replace("_", "").replace("-", ""), bare, n=1, cutoff=0.7)
    return bare[near[0]] if near else None


def _example(details: ErrorDetails, location: Location, model: type[Model]) -> str | None:
    """`field: value`, from the field's own example, its form, or its default."""
    field = field_at(model, location)
    if field is None:
        return None
    pattern = patterns.BY_REGEX.get(str(details.get("ctx", {}).get("pattern")))
    if field.examples:
        value = field.examples[0]
    elif pattern:
        value = pattern.example
    else:
        value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value in (None, (), {}):
        return None
    return f"{location[-1]}: {_flow(value.to_wire() if isinstance(value, Model) else value)}"


def _flow(value: object) -> str:
    """A value as YAML on one line."""
    from matrix_crds.yaml_writer import yaml_text

    return yaml_text(_jsonable(value), width=10_000, flow=True).removesuffix("...\n").strip()


def _jsonable(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry) for entry in value]
    return str(value) if isinstance(value, str) else value
