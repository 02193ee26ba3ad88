"""Kubernetes quantities for cpu and memory: "500m", 4, "8Gi". Kept as written, compared by value."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from matrix_crds import patterns

_SUFFIX: dict[str, Decimal] = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    "k": Decimal(1000),
    "M": Decimal(1000) ** 2,
    "G": Decimal(1000) ** 3,
    "T": Decimal(1000) ** 4,
    "Ki": Decimal(1024),
    "Mi": Decimal(1024) ** 2,
    "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
}
_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


def _int_or_string(**bounds: int) -> dict[str, Any]:
    """JSON schema extras. The pattern holds for text, `minimum` and `maximum` for numbers: together they say the same."""
    return {"x-kubernetes-int-or-string": True} | bounds


def _as_text(value: object) -> object:
    """YAML writes `cpu: 4` as a number. `cpu: 0.5` is refused as the API server refuses it (int-or-string has no fractions)."""
    if isinstance(value, float):
        raise PydanticCustomError("quantity_float", "must be a whole number or text; put it in quotes or use a suffix")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Cpu = Annotated[
    str,
    Field(pattern=patterns.CPU.regex, min_length=1, max_length=20, json_schema_extra=_int_or_string(minimum=0)),
    BeforeValidator(_as_text),
]
"""Cores: 4, "0.5", "500m"."""
Memory = Annotated[
    str,
    Field(pattern=patterns.MEMORY.regex, min_length=1, max_length=20, json_schema_extra=_int_or_string(minimum=10**6, maximum=10**15 - 1)),
    BeforeValidator(_as_text),
]
"""Bytes, nearly always with a suffix: "8Gi". `memory: 8` (eight bytes) is always a mistake and is refused."""


def parse(quantity: str) -> Decimal:
    """The value in base units (cores, bytes). Raises ValueError for what is not a quantity."""
    match = _PARTS.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is not a quantity; write a number with an optional suffix, such as 4, 500m or 8Gi")
    return Decimal(match[1]) * _SUFFIX[match[2] or ""]


def whole(quantity: str) -> int:
    """The value rounded up: Ray's num-cpus of `cpu`, bytes of `memory`."""
    return math.ceil(parse(quantity))
