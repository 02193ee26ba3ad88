"""The structural OpenAPI v3 schema of a kind, as an API server takes it, from its pydantic model.

What a structural schema is: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
pydantic gives JSON Schema; here $refs are resolved, optional means absent (not null), keys unknown to structural schemas go, rules and
descriptions are added, and everything is bounded, because the cost of CEL rules is estimated from the bounds.
"""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from matrix_crds.base import Model
from matrix_crds.docstrings import field_docs
from matrix_crds.patterns import ANY_TEXT
from matrix_crds.rules import Immutable, Rule
from matrix_crds.tree import as_model

Schema = dict[str, Any]

STATUS_TEXT = 32_768
"""Bound of a status's texts (that of metav1.Condition's message)."""
STATUS_ENTRIES = 1_024
"""Bound of a status's lists."""
_FIRST = ("description", "type", "x-kubernetes-int-or-string", "anyOf", "enum", "default")
_LAST = ("required", "properties", "items", "additionalProperties", "x-kubernetes-validations")
_DROPPED = ("$defs", "title", "examples", "additionalProperties", "propertyNames", "patternProperties", "const")


def root_schema(model: type[Model]) -> Schema:
    """openAPIV3Schema of a kind."""
    spec, status = (structural(_model_of(model.model_fields[part])) for part in ("spec", "status"))
    _refuse_nul(spec)
    root: Schema = {
        "type": "object",
        "description": one_line(model.__doc__ or ""),
        "properties": {
            "apiVersion": {"type": "string", "maxLength": 253},
            "kind": {"type": "string", "maxLength": 63},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _bounded(status),
        },
        "x-kubernetes-validations": [
            {
                "rule": "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "message": "metadata.name must be at most 40 lower-case letters, digits and '-', beginning with a letter",
            }
        ],
    }
    if model.model_fields["spec"].is_required():
        root["required"] = ["spec"]
    else:
        spec["default"] = {}
    return root


def _model_of(field: FieldInfo) -> type[Model]:
    model = as_model(field.annotation)
    assert model is not None
    return model


class _Generator(GenerateJsonSchema):
    """pydantic's JSON Schema with our rules and docstrings."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        json = super().model_schema(schema)
        cls = schema["cls"]
        docs = field_docs(cls)
        for name, field in cls.model_fields.items():
            node = json["properties"][field.alias]
            if name in docs:
                node["description"] = docs[name]
            if field.default_factory is not None:
                node["default"] = {}
        rules = [*_immutables(cls), *_rules(cls)]
        return json | ({"x-kubernetes-validations": rules} if rules else {})


def _rules(cls: type[Model]) -> list[Schema]:
    return [
        {"rule": rule.cel, "message": _with_example(rule)} | ({"fieldPath": "".join(f".{part}" for part in rule.path)} if rule.path else {})
        for rule in cls.rules
        if rule.cel
    ]


def _with_example(rule: Rule) -> str:
    return f"{rule.message} (for example: {rule.example})"


def _immutables(cls: type[Model]) -> list[Schema]:
    return [_immutable(rule) for rule in cls.immutable]


def _immutable(rule: Immutable) -> Schema:
    return {"rule": rule.cel, "message": rule.message, "fieldPath": f".{rule.field}"}


def structural(model: type[Model]) -> Schema:
    """The schema of a model, with everything inside it."""
    json = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    definitions = json.get("$defs", {})
    return _node(json, definitions)


def _node(json: Schema, definitions: dict[str, Schema]) -> Schema:
    """One node, with everything below it."""
    json = _resolved(json, definitions)
    node = {key: value for key, value in json.items() if key not in _DROPPED}
    if node.get("default", ...) is None:
        del node["default"]
    if "description" in node:
        node["description"] = one_line(node["description"])
    if not node.get("properties", True):
        del node["properties"]
    if "properties" in node:
        node["properties"] = {key: _node(value, definitions) for key, value in node["properties"].items()}
    if "items" in node:
        node["items"] = _node(node["items"], definitions)
        node.setdefault("x-kubernetes-list-type", "atomic")
    if node.get("type") == "object" and "properties" not in node:
        node |= _map(json, definitions)
    if node.get("x-kubernetes-int-or-string"):
        node = _int_or_string(node)
    return dict(sorted(node.items(), key=lambda item: _rank(item[0])))


def _rank(key: str) -> tuple[int, int, str]:
    """The order in which a reader wants the keys of a node."""
    if key in _FIRST:
        return 0, _FIRST.index(key), key
    return (2, _LAST.index(key), key) if key in _LAST else (1, 0, key)


def _resolved(json: Schema, definitions: dict[str, Schema]) -> Schema:
    """Without $ref, and without the `| null` of optional fields. What stands beside a reference wins over what it refers to."""
    while "$ref" in json or "anyOf" in json:
        outer = {key: value for key, value in json.items() if key not in ("$ref", "anyOf")}
        if "$ref" in json:
            inner = definitions[json["$ref"].rpartition("/")[2]]
        else:
            (inner,) = (option for option in json["anyOf"] if option != {"type": "null"})
        json = inner | outer
    return json


def _map(json: Schema, definitions: dict[str, Schema]) -> Schema:
    """A mapping with free keys; a model without fields is an empty object, which prunes whatever is in it."""
    patterns = list(json.get("patternProperties", {}).values())
    values = patterns[0] if patterns else json.get("additionalProperties")
    if json.get("x-kubernetes-preserve-unknown-fields") or not isinstance(values, dict):
        return {}
    return {"additionalProperties": _node(values, definitions)}


def _int_or_string(node: Schema) -> Schema:
    """`pattern` and lengths hold for text only; the alternatives are written as controller-gen writes them."""
    return {"anyOf": [{"type": "integer"}, {"type": "string"}]} | {key: value for key, value in node.items() if key != "type"}


def _bounded(node: Schema) -> Schema:
    """A status node with bounds: its models have none, so that a controller can always read what it wrote."""
    if node.get("type") == "string" and "enum" not in node and node.get("format") != "date-time":
        node.setdefault("maxLength", STATUS_TEXT)
    if node.get("type") == "array":
        node.setdefault("maxItems", STATUS_ENTRIES)
        _bounded(node["items"])
    for inner in node.get("properties", {}).values():
        inner.pop("default", None)  # a status is written by one hand, whole
        _bounded(inner)
    return node


def _refuse_nul(node: Schema) -> None:
    """In every text of a spec, as we do (matrix_crds.plain): no program takes it in an argument, a path or a name."""
    if node.get("type") == "string" and "enum" not in node:
        node.setdefault("pattern", ANY_TEXT.regex)
    for inner in (*node.get("properties", {}).values(), *([node["items"]] if "items" in node else ())):
        _refuse_nul(inner)


def one_line(text: str) -> str:
    """Without its line breaks."""
    return " ".join(text.split())
