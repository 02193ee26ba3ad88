"""Trying manifests on the store without changing it."""

from __future__ import annotations

from collections.abc import Sequence

from matrix_cli.differences import Difference, difference
from matrix_client.manifests import apply_manifests
from matrix_crds.keys import ObjectKey
from matrix_crds.loading import Manifest
from matrix_store.errors import NotFound
from matrix_store.port import ApplyResult, Store, StoredObject


async def preview(store: Store, manifests: Sequence[Manifest], namespace: str) -> list[Difference]:
    """What applying all of them would do. Raises as apply_manifests does."""
    found = []
    for after, result in await apply_manifests(store, manifests, namespace, dry_run=True):
        before = None if result is ApplyResult.CREATED else await _find(store, after.key)
        changed = difference(before, after, result)
        # What differs in nothing but defaults of this version is no change for the user.
        found.append(Difference(changed.key, _result(changed), changed.before, changed.after))
    return found


def _result(found: Difference) -> ApplyResult:
    return ApplyResult.UNCHANGED if found.before == found.after else found.result


async def _find(store: Store, key: ObjectKey) -> StoredObject | None:
    try:
        return await store.get(key)
    except NotFound:
        return None
