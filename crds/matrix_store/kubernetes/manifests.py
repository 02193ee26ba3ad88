"""From a manifest and the object that is stored to what is written. Pure.

`apply` replaces: the spec is the manifest's, labels and annotations that an earlier apply of ours set and the manifest no longer has go.
Those of others (kubectl, Kueue, Helm) stay: who set which one is in metadata.managedFields.
"""

from __future__ import annotations

from typing import Any

from matrix_crds.constants import API_VERSION
from matrix_store.kubernetes.api import MANAGER, replace_version
from matrix_store.port import Raw, StoredObject

USERS_MAPS = ("labels", "annotations")


def stored(raw: Raw) -> StoredObject:
    """An answer of the API as an object: without the record of who set which field, which is often larger than the rest."""
    metadata = {key: value for key, value in raw["metadata"].items() if key != "managedFields"}
    return StoredObject({**raw, "metadata": metadata})


def stored_items(kind: str, items: list[Raw]) -> list[StoredObject]:
    """The items of a list, which may lack what is the same for all of them."""
    return [stored({**item, "kind": kind}) for item in items]


def creation(valid: Raw) -> Raw:
    """The body that creates what a manifest declares."""
    metadata = valid["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", *USERS_MAPS) if metadata.get(key)}
    return {"apiVersion": API_VERSION, "kind": valid["kind"], "metadata": kept, "spec": valid.get("spec", {})}


def changes(old: Raw, valid: Raw) -> list[Raw]:
    """The JSON patch that makes the stored object (with its managedFields) what a manifest declares; empty if it is that already."""
    metadata = old["metadata"]
    operations: list[Raw] = []
    if old.get("spec") != valid.get("spec", {}):
        operations.append({"op": "add", "path": "/spec", "value": valid.get("spec", {})})
    for field in USERS_MAPS:
        wanted = _wanted(metadata, valid["metadata"].get(field) or {}, field)
        if wanted != (metadata.get(field) or {}):
            operations.append({"op": "add", "path": f"/metadata/{field}", "value": wanted})
    return [replace_version(metadata["resourceVersion"]), *operations] if operations else []


def _wanted(metadata: Raw, ours: dict[str, str], field: str) -> dict[str, str]:
    set_before = _set_by_us(metadata.get("managedFields") or [], field)
    others = {key: value for key, value in (metadata.get(field) or {}).items() if key not in set_before}
    return {**others, **ours}


def _set_by_us(managed: list[dict[str, Any]], field: str) -> set[str]:
    """The keys of a map of the metadata that writes of ours set last (fieldsV1 of the API: `f:labels: {f:KEY: {}}`)."""
    keys: set[str] = set()
    for entry in managed:
        if entry.get("manager") == MANAGER and not entry.get("subresource"):
            fields = ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get(f"f:{field}") or {}
            keys |= {key.removeprefix("f:") for key in fields if key != "."}
    return keys
