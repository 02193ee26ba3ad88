"""What applying a manifest would change: a unified diff of what users write, with defaults filled in on both sides. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from matrix_cli.formats import yaml_text
from matrix_crds.errors import ManifestError
from matrix_crds.keys import ObjectKey
from matrix_store.port import ApplyResult, Raw, StoredObject

USERS_METADATA = ("name", "namespace", "labels", "annotations")


@dataclass(frozen=True)
class Difference:
    """One object: as it is, and as it would be."""

    key: ObjectKey
    result: ApplyResult
    before: Raw | None
    """None for one that would be created."""
    after: Raw
    replaces_replicas: bool | None = None
    """Whether it starts what runs anew; None where that is not the question, or can't be said."""

    @property
    def effect(self) -> str:
        """What it does to what runs, in words; "" if there is nothing to say."""
        if self.replaces_replicas is None or self.before is None or self.before == self.after:
            return ""
        return "its replicas are replaced, as spec.rollout says" if self.replaces_replicas else "live: no replica is restarted"

    @property
    def lines(self) -> list[str]:
        """The unified diff; nothing when only what the store fills in would change."""
        before = "" if self.before is None else yaml_text(self.before)
        names = f"{self.key} (stored)", f"{self.key} (manifest)"
        return [line.rstrip("\n") for line in difflib.unified_diff(before.splitlines(), yaml_text(self.after).splitlines(), *names)]


def difference(before: StoredObject | None, after: StoredObject, result: ApplyResult, replaces_replicas: bool | None = None) -> Difference:
    """`after` is what the store would hold. What differs only in defaults of this version is no change for the user."""
    old, new = None if before is None else _users_part(before), _users_part(after)
    return Difference(after.key, ApplyResult.UNCHANGED if old == new else result, old, new, replaces_replicas)


def _users_part(stored: StoredObject) -> Raw:
    """What a user writes, with the defaults of this version: an object may have been stored by one that had fewer fields."""
    try:
        raw = stored.resource.to_wire()
    except ManifestError:
        raw = stored.raw
    metadata = {name: raw["metadata"][name] for name in USERS_METADATA if raw["metadata"].get(name)}
    return {"apiVersion": raw["apiVersion"], "kind": raw["kind"], "metadata": metadata, "spec": raw.get("spec", {})}


_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def coloured(lines: Sequence[str]) -> Iterator[str]:
    """As git shows it; click takes the colours away where there is no terminal."""
    for line in lines:
        if line.startswith(("+++", "---")):
            yield click.style(line, bold=True)
        else:
            colour = _COLOURS.get(line[:1])
            yield click.style(line, fg=colour) if colour else line
