"""A field in words, and as JSON, for `matrix explain`. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from matrix_crds.fields import Field

WIDEST = 110
"""Columns; longer lines are hard to read."""
INDENT = "  "


def record(field: Field) -> dict[str, Any]:
    """The JSON form, without what is empty."""
    found = {
        "kind": field.kind,
        "path": field.path,
        "type": plain_type(field),
        "required": field.required,
        "default": field.default,
        "description": field.description,
        "values": [{"value": value, "meaning": meaning} for value, meaning in field.values.items()],
        "immutable": field.immutable,
        "rules": [{"name": rule.name, "message": rule.message, "example": rule.example} for rule in field.rules],
        "example": field.example,
        "fields": [record(inner) for inner in field.fields],
    }
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def lines(field: Field, width: int, *, recursive: bool = False) -> Iterator[str]:
    """The page of a field."""
    title = ".".join(part for part in (field.kind, field.path) if part)
    yield from _title(title, about(field) if field.path else "", width)
    yield from _paragraph(field.description, width)
    if field.immutable:
        yield from _section("Can't be changed after creation", _wrapped(f"{field.immutable}.", width))
    if field.values:
        yield from _section("Values", _pairs(list(field.values.items()), width))
    if field.rules:
        yield from _section("Rules", _rules(field, width))
    if field.example is not None:
        yield from _section("Example", _example(field))
    if recursive:
        yield from _section("Fields", _tree(field.fields, width, 1))
    elif field.fields:
        yield from _section("Fields", _list(field.fields, width))
        for part in () if field.path else field.fields:
            yield from _section(f"Fields of {part.name}", _list(part.fields, width)) if part.fields else ()


def _title(title: str, told: str, width: int) -> Iterator[str]:
    """On one line if it fits."""
    if len(title) + 2 + len(told) <= width:
        yield click.style(title, bold=True) + (f"  {told}" if told else "")
    else:
        yield click.style(title, bold=True)
        yield from _wrapped(told, width)


def about(field: Field) -> str:
    """Type, whether it must be given, default: in one line."""
    parts = [plain_type(field)]
    if field.required:
        parts.append("required")
    if field.default is not None:
        parts.append(f"default {json.dumps(field.default)}")
    return ", ".join(parts)


def plain_type(field: Field) -> str:
    """The type without the marks of a page in Markdown."""
    return field.type.replace("`", "").replace(", ", " | ") if field.values and "`" in field.type else field.type.replace("`", "")


def _paragraph(text: str, width: int) -> Iterator[str]:
    if text:
        yield ""
        yield from _wrapped(text, width)


def _section(title: str, body: Iterator[str] | Sequence[str]) -> Iterator[str]:
    yield ""
    yield click.style(f"{title}:", bold=True)
    yield from body


def _wrapped(text: str, width: int, indent: str = INDENT, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        max(40, width),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _pairs(pairs: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Names with their meanings, in two columns."""
    column = max(len(name) for name, _ in pairs) + 2
    for name, meaning in pairs:
        text = _wrapped(meaning, width, INDENT + " " * column, f"{INDENT}{name.ljust(column)}") or [f"{INDENT}{name}"]
        yield from text


def _rules(field: Field, width: int) -> Iterator[str]:
    for rule in field.rules:
        yield from _wrapped(f"{rule.message}; for example: {rule.example}", width, INDENT + "  ", f"{INDENT}- ")


def _example(field: Field) -> Iterator[str]:
    """The value where it stands in a manifest."""
    from matrix_cli.formats import yaml_text

    value = field.example
    for name in reversed([name for name in field.path.replace("[]", ".[]").split(".") if name]):
        value = [value] if name == "[]" else {name: value}
    assert isinstance(value, Mapping)
    yield from (f"{INDENT}{line}" for line in yaml_text(dict(value)).splitlines())


def _list(fields: Sequence[Field], width: int) -> Iterator[str]:
    """The next level: a line with the type, and the meaning below it."""
    column = max((len(field.name) for field in fields), default=0) + 2
    for field in fields:
        yield f"{INDENT}{click.style(field.name, fg='cyan')}{' ' * (column - len(field.name))}{about(field)}"
        yield from _wrapped(_told(field), width, INDENT + " " * column)


def _told(field: Field) -> str:
    meanings = " ".join(f"{value}: {meaning}" for value, meaning in field.values.items() if meaning)
    return f"{field.description} {meanings}".strip()


def _tree(fields: Sequence[Field], width: int, level: int) -> Iterator[str]:
    """All levels, a line each."""
    for field in fields:
        line = f"{INDENT * level}{field.name}  {about(field)}"
        yield line.replace(field.name, click.style(field.name, fg="cyan"), 1)
        yield from _tree(field.fields, width, level + 1)
