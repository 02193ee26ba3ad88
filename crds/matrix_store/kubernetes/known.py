"""What a reader has been told of objects, and what is news to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from matrix_crds.keys import ObjectKey
from matrix_store.port import Change, ChangeType, StoredObject


class Known:
    """The last state of each object that was told. Its methods give the changes to tell, and count them as told.

    Lists and events may arrive in any order: versions decide what is newer. They are decimal numbers that grow (by the Kubernetes API
    conventions since 1.35, and so in all releases before). Lists are read one after the other, and not from a cache of the server's: one
    that is older than the last means that the server's store was restored from a backup, and counts whatever its versions are.
    """

    def __init__(self) -> None:
        self._objects: dict[ObjectKey, StoredObject] = {}
        self._listed: dict[str, int] = {}
        """Of each kind the version of its last list."""

    def present(self, item: StoredObject) -> list[Change]:
        """An object was seen. One that was replaced by another of the same name is Deleted, then Changed. Old news are none."""
        known = self._objects.get(item.key)
        newest = self._listed.get(item.key.kind, -1) if known is None else int(known.resource_version)
        return self._seen(item) if int(item.resource_version) > newest else []

    def _seen(self, item: StoredObject) -> list[Change]:
        known = self._objects.get(item.key)
        replaced = known is not None and known.uid != item.uid
        gone = self.absent(item.key) if replaced else []
        self._objects[item.key] = item
        return [*gone, Change(ChangeType.CHANGED, item.key, item)]

    def absent(self, key: ObjectKey, uid: str | None = None) -> list[Change]:
        """An object has gone (if `uid` is given: that one, and another of its name stays)."""
        last = self._objects.get(key)
        if last is None or (uid is not None and uid != last.uid):
            return []
        del self._objects[key]
        return [Change(ChangeType.DELETED, key, last)]

    def listed(self, kind: str, items: Iterable[StoredObject], version: int) -> list[Change]:
        """All objects of a kind as they were at a version: those that are known and not among them are gone, though nobody said so.
        Nothing that is newer than the list may have been told before it."""
        found = {item.key: item for item in items}
        gone = [key for key in self._objects if key.kind == kind and key not in found]
        changes = [change for key in gone for change in self.absent(key)]
        restored = version < self._listed.get(kind, -1)
        self._listed[kind] = -1  # an object of the list is news although it is older than the list
        changes += [change for item in found.values() for change in (self._seen(item) if restored else self.present(item))]
        self._listed[kind] = version
        return changes
