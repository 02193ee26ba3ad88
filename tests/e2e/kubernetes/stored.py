"""A stored spec in a form that can be compared, whoever wrote the defaults into it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.e2e.kubernetes.manifests import Raw
from tests.e2e.kubernetes.schemas import Node, spec_schema


def normal(kind: str, spec: Raw) -> Any:
    """Quantities as text, times as moments, and no null in a template: an API server keeps these as they were written."""
    return _normal(spec_schema(kind), spec)


def _normal(node: Node, value: Any) -> Any:
    if node.get("x-kubernetes-int-or-string"):
        return str(value)
    if node.get("format") == "date-time":
        return datetime.fromisoformat(value)
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return _without_nulls(value)
    if isinstance(value, list):
        return [_normal(node["items"], entry) for entry in value]
    if isinstance(value, dict):
        known = node.get("properties", {})
        return {key: _normal(known.get(key) or node["additionalProperties"], inner) for key, inner in value.items()}
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value
