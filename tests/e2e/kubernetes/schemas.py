"""The part of a CRD's schema that a manifest fills in."""

from __future__ import annotations

from functools import cache
from typing import Any

from matrix_crds.registry import by_kind
from matrix_crds.schema import root_schema

Node = dict[str, Any]


@cache
def spec_schema(kind: str) -> Node:
    """Of the spec of that kind; not to be changed."""
    node: Node = root_schema(by_kind(kind).model)["properties"]["spec"]
    return node
