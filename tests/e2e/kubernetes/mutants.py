"""Manifests that are broken in one place or two, and updates of stored objects: some valid, most not. The same ones at every run."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from matrix_crds.errors import Location, path_text
from tests.e2e.kubernetes.by_hand import CREATIONS, UPDATES
from tests.e2e.kubernetes.changes import DROP, changes, unfit
from tests.e2e.kubernetes.manifests import ALL, Raw
from tests.e2e.kubernetes.schemas import Node, spec_schema

PAIRS = 200
"""How many mutants have two changes."""
UPDATED = 150
"""How many mutants of one change are tried as an update of the manifest that they come from, too."""
SEED = 20260131


@dataclass(frozen=True)
class Mutant:
    """A manifest to create, or (with `old`) to update an object with that was created from `old`."""

    name: str
    new: Raw
    old: Raw | None = None


@dataclass(frozen=True)
class _Change:
    manifest: Raw
    location: Location
    value: Any

    def __str__(self) -> str:
        shown = "dropped" if self.value is DROP else repr(self.value)
        return f"{path_text(self.location)} {shown if len(shown) <= 60 else f'{shown[:50]}...({len(shown)})'}"

    def apply(self, raw: Raw) -> None:
        """Change `raw`; nothing happens if the place is not there any more."""
        *way, last = self.location
        target: Any = raw
        for part in way:
            target = _entry(target, part)
        if _entry(target, last) is None:
            return
        if self.value is DROP:
            del target[last]
        else:
            target[last] = copy.deepcopy(self.value)


def mutants() -> list[Mutant]:
    """All of them; their names are unique."""
    single = list(_single())
    dice = random.Random(SEED)
    found = [_mutant([change]) for change in single]
    found += [_mutant(_two(dice, single)) for _ in range(PAIRS)]
    found += [_mutant([change], update=True) for change in dice.sample([c for c in single if c.location[0] == "spec"], UPDATED)]
    found += [Mutant(name, new) for name, new in CREATIONS.items()]
    found += [Mutant(name, new, old) for name, (old, new) in UPDATES.items()]
    return list({mutant.name: mutant for mutant in found}.values())


def _two(dice: random.Random, single: list[_Change]) -> list[_Change]:
    first = dice.choice(single)
    return [first, dice.choice([change for change in single if change.manifest is first.manifest])]


def _mutant(applied: list[_Change], update: bool = False) -> Mutant:
    manifest = applied[0].manifest
    new = copy.deepcopy(manifest)
    for change in applied:
        change.apply(new)
    verb = "update of " if update else ""
    return Mutant(f"{verb}{manifest['metadata']['name']}: {', '.join(map(str, applied))}", new, manifest if update else None)


def _single() -> Iterator[_Change]:
    """Of each field once, in the first manifest that has it; only the wrong sorts of value where another field has the same schema."""
    places, schemas = set(), set()
    for manifest in ALL:
        for location, node, value in _fields(manifest):
            place, schema = (manifest["kind"], _place(location)), _constraints(node)
            if place not in places:
                values = unfit() if schema in schemas else changes(node, value)
                yield from (_Change(manifest, location, changed) for changed in values)
            places.add(place)
            schemas.add(schema)


def _constraints(node: Node) -> str:
    return json.dumps({key: value for key, value in node.items() if key not in ("description", "default")}, sort_keys=True)


def used() -> set[tuple[str, str]]:
    """Each field of a spec that the manifests use, as (kind, place)."""
    return {(raw["kind"], _place(location)) for raw in ALL for location, _, _ in _fields(raw)}


def _place(location: Location) -> str:
    return ".".join("[]" if isinstance(part, int) else part for part in location)


def _fields(manifest: Raw) -> Iterator[tuple[Location, Node, Any]]:
    return _below(("spec",), spec_schema(manifest["kind"]), manifest["spec"])


def _below(location: Location, node: Node, value: Any) -> Iterator[tuple[Location, Node, Any]]:
    """The value, and all those inside it of which the schema knows something."""
    yield location, node, value
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _below((*location, index), node["items"], entry)
    elif isinstance(value, dict):
        for key, inner in value.items():
            known = node.get("properties", {}).get(key) or node.get("additionalProperties")
            if known:
                yield from _below((*location, key), known, inner)


def _entry(container: Any, part: str | int) -> Any:
    """What is there, or None."""
    if isinstance(container, dict):
        return container.get(part)
    return container[part] if isinstance(container, list) and isinstance(part, int) and part < len(container) else None
