"""The cells of `matrix get`: the printer columns of the kinds, read from objects as they are stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from matrix_cli.times import age
from matrix_client.verdict import moment
from matrix_crds import registry
from matrix_crds.registry import Column
from matrix_store.port import Raw, StoredObject

NONE = "-"
FLEXIBLE = "Summary"
"""The column that gives way on a narrow terminal."""
_STEP = re.compile(r"\.(\w+)|\[\?\(@\.(\w+)==\"([^\"]*)\"\)\]")


def headers_of(kind: str, *, wide: bool, namespaced: bool) -> list[str]:
    """The header line of a kind's table."""
    return ["NAMESPACE"] * namespaced + ["NAME"] + [column.name.upper() for column in _columns(kind, wide)]


def flexible_column(kind: str, *, wide: bool, namespaced: bool) -> int:
    """The index of the column that is cut when the table is too wide."""
    return headers_of(kind, wide=wide, namespaced=namespaced).index(FLEXIBLE.upper())


def row_of(stored: StoredObject, *, wide: bool, namespaced: bool, qualified: bool) -> list[str]:
    """The cells of an object. `qualified`: the name with its kind, for tables of several kinds."""
    key = stored.key
    name = f"{registry.lookup(key.kind).short}/{key.name}" if qualified else key.name
    cells = [_cell(stored, column) for column in _columns(key.kind, wide)]
    return [key.namespace] * namespaced + [name] + cells


def value_at(raw: Raw, json_path: str) -> Any:
    """What a printer column's path leads to; None if there is nothing. Steps: `.field` and `[?(@.field=="value")]`."""
    value: Any = raw
    for field, key, wanted in _STEP.findall(json_path):
        if field:
            value = value.get(field) if isinstance(value, dict) else None
        else:
            value = next((item for item in value or () if item.get(key) == wanted), None)
    return value


def _columns(kind: str, wide: bool) -> Sequence[Column]:
    return [column for column in registry.lookup(kind).columns if wide or column.priority == 0]


def _cell(stored: StoredObject, column: Column) -> str:
    value = value_at(stored.raw, column.json_path)
    if column.name == "Ready" and stored.deleting:
        return "Deleting"
    if value is None or value == "":
        return NONE
    return age(moment(value)) if column.type == "date" else str(value)
