"""How a manifest is checked before it is stored. Injected, so that a store can be tried without the resource model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from matrix_store.port import Raw, StoredObject

if TYPE_CHECKING:
    from matrix_crds.base import Resource

Validator = Callable[[Raw, StoredObject | None], Raw]
"""(manifest, the stored object of that name or None) -> the manifest in wire form, with defaults filled in. Raises ManifestError."""


def model_validator() -> Validator:
    """The resource model's. Importing it takes a while, so it is done here, before a transaction begins."""
    from matrix_crds.errors import ManifestError
    from matrix_crds.loading import validate

    def parsed(stored: StoredObject | None) -> Resource | None:
        try:
            return stored.resource if stored else None
        except ManifestError:  # written by another version: the new manifest is what puts it right
            return None

    def check(manifest: Raw, stored: StoredObject | None) -> Raw:
        return validate(manifest, old=parsed(stored)).to_wire()

    return check
