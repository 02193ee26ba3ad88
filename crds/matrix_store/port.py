"""The port of the store: where objects live. SQLite and the Kubernetes API stand behind it and pass the same conformance tests.

Semantics are those of the Kubernetes API: a `resourceVersion` per write, a `generation` per change of spec (the API server also counts the
mark for deletion), finalizers that hold a deleted object, a status that is written apart from the spec, watches that may coalesce but
never lose the last state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from matrix_crds.keys import ObjectKey

if TYPE_CHECKING:
    from matrix_crds.base import Resource

Raw = dict[str, Any]
"""An object in its wire form (camelCase, JSON types)."""


@dataclass(frozen=True)
class StoredObject:
    """An object as it is stored. It may not parse (written by another version): `resource` raises then, the rest works."""

    raw: Raw

    @property
    def key(self) -> ObjectKey:
        metadata = self.raw["metadata"]
        return ObjectKey(self.raw["kind"], metadata["namespace"], metadata["name"])

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"]["uid"])

    @property
    def resource_version(self) -> str:
        return str(self.raw["metadata"]["resourceVersion"])

    @property
    def generation(self) -> int:
        return int(self.raw["metadata"]["generation"])

    @property
    def finalizers(self) -> tuple[str, ...]:
        return tuple(self.raw["metadata"].get("finalizers", ()))

    @property
    def deleting(self) -> bool:
        return self.raw["metadata"].get("deletionTimestamp") is not None

    @property
    def ending(self) -> bool:
        """Being deleted, and no new spec is of use any more. It is of use to one that can't be read: nothing is ended of that until it
        can be."""
        from matrix_crds.errors import ManifestError

        try:
            return self.deleting and self.resource is not None
        except ManifestError:
            return False

    @cached_property
    def resource(self) -> Resource:
        """The typed object. Raises matrix_crds.errors.ManifestError."""
        from matrix_crds.registry import parse

        return parse(self.raw)


class ApplyResult(StrEnum):
    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"


class ChangeType(StrEnum):
    CHANGED = "Changed"  # added or modified: the reader looks at the object, not at the difference
    DELETED = "Deleted"
    SYNCED = "Synced"  # everything that existed when the watch began has been reported


@dataclass(frozen=True)
class Change:
    type: ChangeType
    key: ObjectKey | None = None
    object: StoredObject | None = None
    """The new state; the last one known for Deleted (None if it was never seen); None for Synced."""


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True)
class Event:
    """Something that happened to an object. Deduplicated by (object uid, type, reason, message): `count` goes up, `last` moves."""

    key: ObjectKey
    uid: str
    type: EventType
    reason: str
    message: str
    first: datetime
    last: datetime
    count: int = field(default=1)


class Store(Protocol):
    """Where objects live. Every method raises a StoreError (errors.py) and nothing else of the store's own."""

    async def get(self, key: ObjectKey) -> StoredObject:
        """Raises NotFound."""
        ...

    async def list(self, kind: str, namespace: str | None = None) -> Sequence[StoredObject]:
        """All of a kind, ordered by namespace and name; `namespace` None means every namespace."""
        ...

    def watch(self, *kinds: str, namespace: str | None = None) -> AsyncIterator[Change]:
        """Everything there is as Changed, then Synced, then what changes; in one namespace, or in all. Ends only with the store or the
        caller."""
        ...

    async def apply(self, manifest: Raw, *, dry_run: bool = False) -> tuple[StoredObject, ApplyResult]:
        """Create or replace the spec, labels and annotations; never the status. The whole manifest is validated first, against
        the stored object as well (immutable fields), and stored with its defaults filled in, so that a later release's other default
        changes nothing. Raises ManifestError; Conflict while an object of that name is being deleted (see `StoredObject.ending`)."""
        ...

    async def apply_all(self, manifests: Sequence[Raw], *, dry_run: bool = False) -> Sequence[tuple[StoredObject, ApplyResult]]:
        """`apply` for all of a file, in its order: all of them or none. (A store without transactions tries all with `dry_run` first.)"""
        ...

    async def write_spec(self, key: ObjectKey, spec: Raw, *, resource_version: str) -> StoredObject:
        """Replace the spec and nothing else; validated as `apply` does. Raises ManifestError; Conflict if the object is no longer at
        `resource_version`, or is being deleted; NotFound."""
        ...

    async def write_status(self, key: ObjectKey, status: Raw, *, resource_version: str) -> StoredObject:
        """Replace the status. Raises Conflict if the object is no longer at `resource_version`, NotFound."""
        ...

    async def set_finalizers(self, key: ObjectKey, finalizers: Sequence[str], *, resource_version: str) -> StoredObject | None:
        """Replace the finalizers; a deleting object whose last one goes is removed (None). Raises Conflict, NotFound."""
        ...

    async def delete(self, key: ObjectKey, *, uid: str | None = None) -> StoredObject | None:
        """Mark for deletion, or remove at once when nothing holds it (None). Raises NotFound; Conflict if the uid is another."""
        ...

    async def record(self, event: Event) -> None:
        """Store an event, or count it to the one that says the same."""
        ...

    async def events(self, key: ObjectKey | None = None, namespace: str | None = None) -> Sequence[Event]:
        """Oldest first; of one object, else of a namespace, else of all. Those of a removed object are kept for a while."""
        ...

    async def close(self) -> None: ...
