"""JSON of which there are thousands alike, read and written in a third of the time that Python's own takes. What the standard does not
have and Python's has (half a character, most of all) is left to Python's."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json, to_json


def loads(text: str | bytes) -> Any:
    """As json.loads. Short strings that are alike are one object, which halves what an object of the API takes. Raises ValueError."""
    try:
        return from_json(text)
    except ValueError:
        return json.loads(text)


def dumps(value: Any) -> bytes:
    """As json.dumps, without spaces, in UTF-8."""
    try:
        return to_json(value)
    except ValueError:
        return json.dumps(value, separators=(",", ":")).encode()


def compact(value: Any) -> Any:
    """The same value as `loads` would have read it: for what another library has read."""
    return loads(dumps(value))
