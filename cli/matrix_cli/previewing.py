"""Trying manifests on the store without changing it."""

from __future__ import annotations

from collections.abc import Sequence

from matrix_cli.differences import Difference, difference
from matrix_cli.local_backend import replaces_replicas
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
        found.append(difference(before, after, result, replaces_replicas(before, after) if before else None))
    return found


async def _find(store: Store, key: ObjectKey) -> StoredObject | None:
    try:
        return await store.get(key)
    except NotFound:
        return None
