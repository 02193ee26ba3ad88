"""What the store holds, in memory: fed by its watch, so that a look at an object never asks the store, and each version is parsed once.

A cache may lag behind others' writes: what was decided by an old version and goes to the store ends in a Conflict, and the object is
looked at again. What goes to a backend meets no such check, so the cache never falls behind our own writes, though the watch tells of them
late. It must be complete before the first look, or a cluster would be reconciled without its models: the engine waits for `synced`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from matrix_crds.keys import ObjectKey
from matrix_operator.reconcile.reading import section
from matrix_store.port import Change, ChangeType, StoredObject


class ObjectCache:
    """Objects by key, and deployments by the cluster that they point at."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        self._objects: dict[ObjectKey, StoredObject] = {}
        self._counts: Counter[str] = Counter()
        """By kind."""
        self._by_cluster: defaultdict[ObjectKey, set[ObjectKey]] = defaultdict(set)
        self._told: dict[ObjectKey, int] = {}
        """The version that the watch has told last."""

    def take(self, change: Change) -> None:
        """Follow the store."""
        if change.type is ChangeType.SYNCED:
            self.synced.set()
        elif change.type is ChangeType.DELETED and change.key is not None:
            self._drop(change.key)
            self._told.pop(change.key, None)
        elif change.object is not None:
            self._follow(change.object)

    def _follow(self, stored: StoredObject) -> None:
        """What a write of ours has overtaken is no news. But a watch that goes back behind what it has told itself tells of a store that
        was restored: that counts."""
        version, known = int(stored.resource_version), self._objects.get(stored.key)
        before, self._told[stored.key] = self._told.get(stored.key, version), version
        if known is None or known.uid != stored.uid or version < before or version >= int(known.resource_version):
            self._put(stored)

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
    name = section(stored.raw, "spec", "clusterRef").get("name")
    return ObjectKey("MatrixCluster", stored.key.namespace, name) if isinstance(name, str) else None
