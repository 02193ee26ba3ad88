"""What a field is, for `matrix explain`: type, bounds, default, values, rules and an example, from the same models as the CRDs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from matrix_crds.base import Model, ObjectMeta
from matrix_crds.constants import API_VERSION
from matrix_crds.examples import example_of, whole_example
from matrix_crds.explain import nearest
from matrix_crds.reasons import Documented
from matrix_crds.reference import type_text
from matrix_crds.registry import KindInfo
from matrix_crds.rules import Rule
from matrix_crds.schema import Schema, one_line, root_schema, structural
from matrix_crds.tree import as_model, models_below, step

PARTS = ("metadata", "spec", "status")
_DESCRIPTIONS = {
    "apiVersion": f"The version of the kinds: {API_VERSION}.",
    "kind": "Which kind of object it is.",
    "metadata": "Its name, namespace, labels and annotations.",
}


class UnknownField(ValueError):
    """There is no field at that path. The text says what was probably meant."""


@dataclass(frozen=True)
class Field:
    """A field, or a kind as a whole (`path` is "")."""

    kind: str
    path: str
    """From the object's root, such as spec.workerGroups[].replicas."""
    type: str
    """The type with its bounds, in words."""
    required: bool
    default: Any
    """None if there is none."""
    description: str
    values: Mapping[str, str]
    """What it may be, each with its meaning ("" where the description tells)."""
    immutable: str
    """Why it can't be changed after creation; "" if it can."""
    rules: tuple[Rule, ...]
    """The rules between fields in which it has a part."""
    example: Any
    """A value in wire form; None where the type says enough."""
    fields: tuple[Field, ...] = ()
    """Those inside it; empty unless asked for."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2].removesuffix("[]")


def field(info: KindInfo, path: str = "", *, depth: int = 1) -> Field:
    """The field at `path` (spec.engine.vllm; `[]` and indices may be left out), with `depth` levels of those inside it.
    Raises UnknownField."""
    return _Reader(info).field(path, depth)


class _Reader:
    def __init__(self, info: KindInfo) -> None:
        self._info = info
        self._schema = root_schema(info.model)
        self._schema["properties"]["metadata"] = structural(ObjectMeta)
        for name, text in _DESCRIPTIONS.items():
            self._schema["properties"][name]["description"] = text

    def field(self, path: str, depth: int) -> Field:
        place, node, owner, annotation = "", self._schema, self._schema, self._info.model
        for name in _names(path):
            place, owner, annotation = _enter(place, node, annotation)
            if name not in owner.get("properties", {}):
                raise UnknownField(self._unknown(place, name, owner))
            place, node, annotation = f"{place}.{name}".lstrip("."), owner["properties"][name], step(annotation, name)
        return self._described(place, node, owner, annotation, depth)

    def _described(self, place: str, node: Schema, owner: Schema, annotation: Any, depth: int) -> Field:
        name = place.rpartition(".")[2]
        text = node.get("description", "")
        values = self._values(place, node, text)
        described = Field(
            kind=self._info.kind,
            path=place,
            type=type_text(node),
            required=name in owner.get("required", ()),
            default=node.get("default") if node.get("default") not in ({}, [], "") else None,
            description=_without_meanings(_with_the_model(text, annotation), values),
            values=values,
            immutable=next((rule.message for path, rule in self._immutables if _is_at_or_below(place, path)), ""),
            rules=tuple(self._rules(place)),
            example=self._example(place),
        )
        return replace(described, fields=tuple(self._inside(place, node, annotation, depth)))

    def _example(self, place: str) -> Any:
        if place in ("", "spec"):
            whole = whole_example(self._info.model)
            return whole[place] if place else whole
        return None if place.startswith("status") else example_of(self._info.model, place)

    def _inside(self, place: str, node: Schema, annotation: Any, depth: int) -> Iterator[Field]:
        if depth > 0:
            inner, owner, annotation = _enter(place, node, annotation)
            for name, child in owner.get("properties", {}).items():
                yield self._described(f"{inner}.{name}".lstrip("."), child, owner, step(annotation, name), depth - 1)

    def _values(self, place: str, node: Schema, text: str) -> dict[str, str]:
        if place in _DOCUMENTED:
            return {member.value: f"{member.meaning}." for member in _documented(self._info, place)}
        return {str(value): _meaning(str(value), text) for value in node.get("enum") or node.get("items", {}).get("enum", ())}

    @cached_property
    def _models(self) -> list[tuple[str, type[Model]]]:
        spec = as_model(self._info.model.model_fields["spec"].annotation)
        assert spec is not None
        return [(".".join(map(str, location)), model) for location, model in models_below(spec, ("spec",))]

    @property
    def _immutables(self) -> Iterator[tuple[str, Any]]:
        return ((f"{place}.{rule.field}", rule) for place, model in self._models for rule in model.immutable)

    def _rules(self, place: str) -> Iterator[Rule]:
        for owner, model in self._models:
            if place.removesuffix("[]") == owner.removesuffix("[]"):
                yield from (rule for rule in model.rules if not rule.path)
            elif place.startswith(f"{owner}."):
                yield from (rule for rule in model.rules if _concerns(rule, place.removeprefix(f"{owner}.")))

    def _unknown(self, place: str, name: str, owner: Schema) -> str:
        where = f"{self._info.short}.{place}".rstrip(".").replace("[]", "")
        known = list(owner.get("properties", {}))
        near = nearest(name, known)
        elsewhere = [path.replace("[]", "") for path in self._paths("", self._schema) if path.rpartition(".")[2].lower() == name.lower()]
        if near or elsewhere:
            return f"{where} has no field {name!r}; did you mean {f'{where}.{near}' if near else f'{self._info.short}.{elsewhere[0]}'}?"
        return f"{where} has no field {name!r}; " + (f"there is {', '.join(known)}" if known else "it has none")

    def _paths(self, place: str, node: Schema) -> Iterator[str]:
        inner, owner, _ = _enter(place, node, None)
        for name, child in owner.get("properties", {}).items():
            path = f"{inner}.{name}".lstrip(".")
            yield path
            yield from self._paths(path, child)


def _names(path: str) -> list[str]:
    return [name for name in re.sub(r"\[\w*\]", "", path).split(".") if name]


def _enter(place: str, node: Schema, annotation: Any) -> tuple[str, Schema, Any]:
    """Into the entries of a list; anything else stays as it is."""
    if node.get("type") == "array":
        return f"{place}[]", node["items"], step(annotation, 0)
    return place, node, annotation


def _with_the_model(text: str, annotation: Any) -> str:
    """A field's own words, and what its model says after the sentence that names it."""
    model = as_model(annotation)
    _, _, more = one_line(model.__doc__ or "").partition(". ") if model else ("", "", "")
    return text if more in text else f"{text} {more}".strip()


def _meaning(value: str, text: str) -> str:
    """What a description says of one of the values: `Value: meaning.`"""
    match = re.search(rf"(?:^|\. ){re.escape(value)}: (.+?\.)(?= [A-Z]\w*: |$)", text)
    return match[1] if match else ""


def _without_meanings(text: str, values: Mapping[str, str]) -> str:
    for value, meaning in values.items():
        text = text.replace(f"{value}: {meaning}", "") if meaning else text
    return one_line(text)


_DOCUMENTED = ("status.conditions[].type", "status.conditions[].reason")


def _documented(info: KindInfo, place: str) -> type[Documented]:
    return info.conditions if place == _DOCUMENTED[0] else info.reasons


def _is_at_or_below(place: str, path: str) -> bool:
    return place == path or place.startswith((f"{path}.", f"{path}[]"))


def _concerns(rule: Rule, rest: str) -> bool:
    """Whether a rule has to do with the field at `rest`, seen from the rule's model."""
    return rest in (".".join(rule.path), f"{'.'.join(rule.path)}[]") or _names_it(rule.cel or "", rest)


def _names_it(cel: str, rest: str) -> bool:
    return re.search(rf"(?<![\w.])self\.{re.escape(rest)}(?![\w.]\w)", cel) is not None and "[]" not in rest
