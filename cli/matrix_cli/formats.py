"""Objects for programs: JSON, YAML, names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import click

from matrix_crds.keys import ObjectKey
from matrix_store.port import Raw, StoredObject


def print_objects(found: Sequence[StoredObject], output: str, named: Callable[[ObjectKey], str], *, single: bool) -> None:
    """Print objects as `output`: json, yaml or name. One that was asked for by name stands alone, others in a List. `named` writes the
    name, which other commands read."""
    if output == "name":
        for stored in found:
            click.echo(named(stored.key))
    else:
        print_raw(found[0].raw if single else list_of([stored.raw for stored in found]), output)


def list_of(items: Sequence[Raw]) -> Raw:
    """A v1 List, as kubectl prints it."""
    return {"apiVersion": "v1", "kind": "List", "items": list(items)}


def print_raw(raw: Raw, output: str) -> None:
    """Print a JSON value as json or yaml."""
    click.echo(json.dumps(raw, indent=2, ensure_ascii=False) if output == "json" else yaml_text(raw), nl=output == "json")


def yaml_text(raw: Raw) -> str:
    """Block style YAML, in the order of the keys as they are."""
    from matrix_crds.yaml_writer import yaml_text as written

    return written(raw)
