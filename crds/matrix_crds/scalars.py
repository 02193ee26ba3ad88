"""What a YAML scalar without quotes and tag is: the same as for kubectl, so that a file means the same on every backend.

The rules are those of the YAML reader in Kubernetes (go.yaml.in/yaml/v2, resolve.go): YAML 1.1, but without dates and base-60 numbers.
"""

from __future__ import annotations

import math
import re

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{f"{sign}.{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")},
}
_WHOLE = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[-+]?0[bB][01]+"), 2),
    (re.compile(r"[-+]?0[oO]?[0-7]+"), 8),
    (re.compile(r"[-+]?[0-9]|[-+]?[1-9][0-9]*"), 10),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9])_(?=[0-9])")
_LONGEST = 70
"""Characters of a whole number of 64 bits, and a few more."""


def resolved(text: str) -> bool | int | float | str | None:
    """The value. Numbers that 64 bits do not hold are floats, and text where a float does not hold them either."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    plain = _BETWEEN_DIGITS.sub("", text) if text[0] == "." else text.replace("_", "")
    whole = _whole(plain)
    if whole is not None:
        return whole
    number = float(plain) if _FLOAT.fullmatch(plain) else math.inf
    return text if math.isinf(number) else number


def _whole(text: str) -> int | None:
    base = next((base for form, base in _WHOLE if form.fullmatch(text)), None)
    if base is None or len(text) > _LONGEST:
        return None
    value = int(text, base)
    signed = text[0] in "+-"
    return value if -(2**63) <= value < (2**63 if signed else 2**64) else None
