"""A small structural check against the openAPI schema of a CRD: kinds of values, required fields, and no unknown ones.

An API server would prune unknown fields silently, or refuse an apply with words that name no field.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def schema_of(crd: Path, version: str) -> dict[str, Any]:
    """The schema of a version of a CRD."""
    versions = yaml.load(crd.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["versions"]
    found = next(entry for entry in versions if entry["name"] == version)
    return dict(found["schema"]["openAPIV3Schema"])


def faults(value: Any, schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """What does not fit, with its place. The root's metadata is Kubernetes' own."""
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, (int, str)):
            yield f"{at}: neither a number nor text"
        return
    kind = _KINDS.get(schema.get("type", ""))
    if kind and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        yield f"{at}: not of type {schema['type']}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at}: not one of {schema['enum']}"
    elif isinstance(value, dict):
        yield from _object_faults(value, schema, at)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from faults(entry, schema["items"], f"{at}[{index}]")


def _object_faults(value: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    yield from (f"{at}.{name}: missing" for name in schema.get("required", ()) if name not in value)
    for name, entry in value.items():
        if at == "" and name == "metadata":
            continue
        if name in known:
            yield from faults(entry, known[name], f"{at}.{name}")
        elif isinstance(others, dict):
            yield from faults(entry, others, f"{at}.{name}")
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{at}.{name}: unknown"
