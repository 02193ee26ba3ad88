"""Kubernetes quantities for cpu and memory: "500m", 4, "8Gi". Kept as written, compared by value."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

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
PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_PARTS = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")


def _as_text(value: object) -> object:
    """YAML writes `cpu: 4` and `cpu: 0.5` as numbers; the API server keeps either."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


Quantity = Annotated[str, BeforeValidator(_as_text), Field(pattern=PATTERN, max_length=20)]


def parse(quantity: str) -> Decimal:
    """The value in base units (cores, bytes). Raises ValueError for what is not a quantity."""
    match = _PARTS.match(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is not a quantity; write a number with an optional suffix, such as 4, 500m or 8Gi")
    return Decimal(match[1]) * _SUFFIX[match[2] or ""]


def whole(quantity: str) -> int:
    """The value rounded up: Ray's num-cpus of `cpu`, bytes of `memory`."""
    return math.ceil(parse(quantity))
