"""Changing a part of a spec that others may be changing too: look, change, write only if nobody was quicker, else again."""

from __future__ import annotations

import copy
from collections.abc import Callable

from matrix_crds.keys import ObjectKey
from matrix_store.errors import Conflict
from matrix_store.port import Raw, Store, StoredObject

ATTEMPTS = 20
"""A status is written a few times a second at most, and each try takes milliseconds."""


async def change_spec(store: Store, key: ObjectKey, change: Callable[[Raw], None], attempts: int = ATTEMPTS) -> tuple[StoredObject, Raw]:
    """Let `change` work on a copy of the spec, as often as it takes, and store it. The object as it is now, and the spec before.

    Raises NotFound, ManifestError, what `change` raises, and Conflict when others were quicker every time or it is being deleted.
    """
    while True:
        stored = await store.get(key)
        if stored.deleting:
            raise Conflict(f"{key} is being deleted: it can't be changed any more")
        spec = copy.deepcopy(stored.raw["spec"])
        change(spec)
        try:
            return await store.write_spec(key, spec, resource_version=stored.resource_version), stored.raw["spec"]
        except Conflict:
            attempts -= 1
            if attempts == 0:
                raise
