"""Makes sure that a manifest is plain JSON data, whoever made it (YAML, JSON, Python), before anything else reads it."""

from __future__ import annotations

import math
import re
from typing import Any

from matrix_crds.errors import Location, ManifestError, Problem

MAX_DEPTH = 50
"""How deep mappings and lists may nest. The deepest field of a kind is at 8; pod templates go a little further."""


MAX_INTEGER = 2**63 - 1
"""What an API server can hold."""
_NO_TEXT = re.compile(r"[-+0-9.eE]*|true|false|null", re.IGNORECASE)
"""Text that looks like something else: a message says that it is text."""


def plain(raw: object) -> Any:
    """A deep copy of JSON types only. A key without a value (null) is as good as absent and is left out; 3.0 is 3, as for
    an API server. Raises ManifestError."""
    problems: list[Problem] = []
    data = _copy(raw, (), problems)
    if problems:
        raise ManifestError(problems)
    return data


def describe(value: object) -> str:
    """A value in a message: what kind of thing it is, and itself if it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list, tuple)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value)
    if not isinstance(value, str):
        return text if len(text) <= 40 else f"{text[:37]}..."
    shown = repr(text if len(text) <= 40 else f"{text[:37]}...")
    return f"the text {shown}" if _NO_TEXT.fullmatch(text) else shown


def _copy(value: object, location: Location, problems: list[Problem]) -> Any:
    if len(location) > MAX_DEPTH:
        problems.append(Problem(location[:4], f"is nested more than {MAX_DEPTH} deep; make it flatter"))
        return None
    if isinstance(value, dict):
        return _copy_mapping(value, location, problems)
    if isinstance(value, (list, tuple)):
        return [_copy(entry, (*location, index), problems) for index, entry in enumerate(value)]
    fault = _fault(value)
    if fault:
        problems.append(Problem(location, fault))
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
        return int(value)
    # An enum member from Python code is its text.
    return str(value) if isinstance(value, str) else value


def _copy_mapping(value: dict[Any, Any], location: Location, problems: list[Problem]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, inner in value.items():
        if not isinstance(key, str) or _text_fault(key):
            problems.append(Problem(location, f"has the key {describe(key)}; keys must be plain text, put it in quotes"))
        elif inner is not None:
            result[str(key)] = _copy(inner, (*location, key), problems)
    return result


def _fault(value: object) -> str | None:
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "is a number too large for any field; make it smaller"
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number, got {value}"
    if value is None or isinstance(value, (bool, int, float)):
        return None
    return f"must be text, a number, true, false, a list or a mapping, got a Python {type(value).__name__}"


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "has a NUL character; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half a character (a lone surrogate); remove it"
    return None
