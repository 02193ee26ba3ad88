"""What the store holds, in memory: fed by its watch, so that a look at an object never asks the store, and each version is parsed once.

A cache may lag behind: a write on top of an old version ends in a Conflict, and the object is looked at again. It must be complete
before the first look, or a cluster would be reconciled without its models: the engine waits for `synced`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from matrix_crds.keys import ObjectKey
from matrix_store.port import Change, ChangeType, StoredObject


class ObjectCache:
    """Objects by key, and deployments by the cluster that they point at."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        self._objects: dict[ObjectKey, StoredObject] = {}
        self._counts: Counter[str] = Counter()
        """By kind."""
        self._by_cluster: defaultdict[ObjectKey, set[ObjectKey]] = defaultdict(set)

    def take(self, change: Change) -> None:
        """Follow the store."""
        if change.type is ChangeType.SYNCED:
            self.synced.set()
        elif change.type is ChangeType.DELETED and change.key is not None:
            self._drop(change.key)
        elif change.object is not None:
            self._put(change.object)

    def wrote(self, stored: StoredObject) -> None:
        """The answer to a write of ours: known before the watch tells."""
        known = self._objects.get(stored.key)
        if known is not None and known.uid == stored.uid and int(known.resource_version) < int(stored.resource_version):
            self._put(stored)

    def get(self, key: ObjectKey) -> StoredObject | None:
        return self._objects.get(key)

    def all(self) -> list[StoredObject]:
        return list(self._objects.values())

    def count(self, kind: str) -> int:
        return self._counts[kind]

    def deployments_of(self, cluster: ObjectKey) -> list[StoredObject]:
        """The ModelDeployments that point at the cluster, by name; whether or not there is such a cluster."""
        return [self._objects[key] for key in sorted(self._by_cluster.get(cluster, ()))]

    def _put(self, stored: StoredObject) -> None:
        self._drop(stored.key)
        self._objects[stored.key] = stored
        self._counts[stored.key.kind] += 1
        cluster = cluster_key(stored)
        if cluster is not None:
            self._by_cluster[cluster].add(stored.key)

    def _drop(self, key: ObjectKey) -> None:
        stored = self._objects.pop(key, None)
        if stored is None:
            return
        self._counts[key.kind] -= 1
        cluster = cluster_key(stored)
        if cluster is not None:
            self._by_cluster[cluster].discard(key)


def cluster_key(stored: StoredObject) -> ObjectKey | None:
    """The cluster that a deployment points at; None for other kinds, or when the spec does not say (it may not parse)."""
    if stored.key.kind != "ModelDeployment":
        return None
    reference = (stored.raw.get("spec") or {}).get("clusterRef")
    name = reference.get("name") if isinstance(reference, dict) else None
    return ObjectKey("MatrixCluster", stored.key.namespace, name) if isinstance(name, str) else None
