"""docs/resources.md: every field, rule, condition, reason and column of every kind, from the same models as the CRDs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from matrix_crds.base import Model
from matrix_crds.constants import API_VERSION
from matrix_crds.errors import Location
from matrix_crds.patterns import BY_REGEX
from matrix_crds.reasons import Documented
from matrix_crds.registry import CATEGORY, KindInfo
from matrix_crds.schema import STATUS_ENTRIES, STATUS_TEXT, Schema, root_schema
from matrix_crds.tree import models_below

_INTRODUCTION = f"""# The kinds

All are of `apiVersion: {API_VERSION}` and live in a namespace (`default` if none is given). `kubectl get {CATEGORY}` lists all of them.
`metadata.name` has at most 40 lower-case letters, digits and `-`, beginning with a letter, so that names derived from it are valid too.
References are to the same namespace. A field that is not in these tables is an error; a field without a value is as good as absent.

cpu and memory are Kubernetes quantities: `4`, `"0.5"` or `500m` cores, `8Gi` of memory; what is asked for is also the limit. Durations
end in `Seconds`. A manifest may hold several objects, separated by `---`; all of them are checked before any of them is applied.
[examples/](../examples) holds manifests to begin with.
"""


def page(kinds: Iterable[KindInfo]) -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *("\n".join(_kind(info)) for info in kinds)])


def _kind(info: KindInfo) -> Iterator[str]:
    schema = root_schema(info.model)
    yield f"## {info.kind} ({info.short})\n\n{schema['description']}\n"
    yield "### spec\n"
    yield from _fields(schema["properties"]["spec"])
    yield "### Rules between fields\n"
    yield from _rules(info.model)
    yield "### status\n"
    yield from _fields(schema["properties"]["status"])
    yield from _meanings("Conditions", "condition", info.conditions)
    yield from _meanings("Reasons", "reason", info.reasons)
    yield "### Columns\n"
    yield from _table(("column", "shows", "when"), ((c.name.upper(), f"`{c.json_path}`", _when(c.priority)) for c in info.columns))
    if info.scale:
        yield f"`kubectl scale` changes `{info.scale.spec_path[1:]}`.\n"


def _when(priority: int) -> str:
    return "with `-o wide`" if priority else "always"


def _meanings(title: str, column: str, members: type[Documented]) -> Iterator[str]:
    yield f"### {title}\n"
    yield from _table((column, "meaning"), ((f"`{member.value}`", f"{member.meaning}.") for member in members))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield _row(head)
    yield "|" + "---|" * len(head)
    yield from (_row(row) for row in rows)
    yield ""


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _fields(schema: Schema) -> Iterator[str]:
    yield from _table(("field", "type", "default", "meaning"), _field_rows(schema, ""))


def _field_rows(schema: Schema, prefix: str) -> Iterator[tuple[str, ...]]:
    for name, node in schema.get("properties", {}).items():
        yield (f"`{prefix}{name}`", type_text(node), default_text(name, node, schema), node.get("description", ""))
        yield from _field_rows(node, f"{prefix}{name}.")
        yield from _field_rows(node.get("items", {}), f"{prefix}{name}[].")


def default_text(name: str, node: Schema, owner: Schema) -> str:
    """The default in words; "" if there is none."""
    if name in owner.get("required", ()):
        return "required"
    default = node.get("default")
    return "" if default in (None, {}, []) else f"`{json.dumps(default)}`"


def type_text(node: Schema) -> str:
    """The type with its bounds, in words."""
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") == "array":
        return f"list of {type_text(node['items'])}{_most(node, 'maxItems', 'entries')}"
    if "additionalProperties" in node:
        return f"mapping to {type_text(node['additionalProperties'])}{_most(node, 'maxProperties', 'entries')}"
    if node.get("type") in ("integer", "number"):
        return f"{node['type']}{_range(node)}"
    if node.get("format") == "date-time":
        return "time"
    if node.get("type") in ("object", "boolean"):
        return "mapping" if node["type"] == "object" else "true or false"
    return _text(node)


def _text(node: Schema) -> str:
    """A quantity's length, and that of a status, is of no interest."""
    pattern = BY_REGEX.get(node.get("pattern", ""))
    bound = "" if "x-kubernetes-int-or-string" in node or node.get("maxLength") == STATUS_TEXT else _most(node, "maxLength", "characters")
    return f"{pattern.words if pattern else 'text'}{bound}"


def _most(node: Schema, key: str, what: str) -> str:
    return f" (at most {node[key]} {what})" if node.get(key, STATUS_ENTRIES) != STATUS_ENTRIES else ""


def _range(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    return f" {low} to {high}" if low is not None and high is not None else ""


def _rules(model: type[Model]) -> Iterator[str]:
    spec: Any = model.model_fields["spec"].annotation
    for location, owner in models_below(spec, ("spec",)):
        for immutable in owner.immutable:
            yield f"- `{_place(location, (immutable.field,))}`: {immutable.message}."
        for rule in owner.rules:
            yield f"- `{_place(location, rule.path)}`: {rule.message}. For example: `{rule.example}`."
    yield ""


def _place(location: Location, path: tuple[str, ...]) -> str:
    return ".".join(str(part) for part in (*location, *path))
