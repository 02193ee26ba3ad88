"""Changing an object by name: an unknown name gets a suggestion."""

from __future__ import annotations

from collections.abc import Callable

from matrix_cli.references import Selection
from matrix_cli.suggestions import not_found
from matrix_client import changes
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import Raw, Store, StoredObject


async def change_spec(store: Store, key: ObjectKey, change: Callable[[Raw], None]) -> tuple[StoredObject, Raw]:
    """As matrix_client.changes.change_spec, with a NotFound that names what there is."""
    try:
        return await changes.change_spec(store, key, change)
    except NotFound as error:
        raise await not_found(store, Selection(*key)) from error
