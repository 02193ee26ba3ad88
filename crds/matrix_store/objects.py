"""The objects in the state file: one row each, holding the object in its wire form."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from matrix_crds.constants import API_VERSION
from matrix_crds.keys import ObjectKey
from matrix_store.connection import Connection
from matrix_store.errors import Conflict, NotFound
from matrix_store.faults import corrupt
from matrix_store.port import ApplyResult, Raw, StoredObject
from matrix_store.revision import next_revision
from matrix_store.tombstones import bury
from matrix_store.validation import Validator, model_validator

Applied = tuple[StoredObject, ApplyResult]


class Objects:
    """The synchronous half of the port (matrix_store.port.Store has the meaning of each method). Every write is one transaction."""

    def __init__(
        self,
        connection: Connection,
        validator: Callable[[], Validator] = model_validator,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._connection = connection
        self._validator = validator
        self._clock = clock

    def get(self, key: ObjectKey) -> StoredObject:
        found = self.find(key)
        if found is None:
            raise NotFound(f"{key} not found")
        return found

    def find(self, key: ObjectKey) -> StoredObject | None:
        """The object, or None."""
        rows = self._connection.rows("SELECT raw FROM objects WHERE kind = ? AND namespace = ? AND name = ?", key)
        return decode(self._connection, rows[0][0]) if rows else None

    def list(self, kind: str, namespace: str | None = None) -> Sequence[StoredObject]:
        where, values = ("", [kind]) if namespace is None else ("AND namespace = ?", [kind, namespace])
        rows = self._connection.rows(f"SELECT raw FROM objects WHERE kind = ? {where} ORDER BY namespace, name", values)
        return [decode(self._connection, row[0]) for row in rows]

    def apply_all(self, manifests: Sequence[Raw], *, dry_run: bool = False) -> Sequence[Applied]:
        validate = self._validator()
        with self._connection.write(durable=True, keep=not dry_run):
            return [self._apply(manifest, validate) for manifest in manifests]

    def write_spec(self, key: ObjectKey, spec: Raw, *, resource_version: str) -> StoredObject:
        validate = self._validator()
        with self._connection.write(durable=True):
            old = self._at(key, resource_version)
            return self._apply({**old.raw, "spec": spec}, validate)[0]

    def write_status(self, key: ObjectKey, status: Raw, *, resource_version: str) -> StoredObject:
        # Not durable: after a power cut the controller looks again, and writes the same again.
        with self._connection.write(durable=False):
            old = self._at(key, resource_version)
            return old if old.raw.get("status") == status else self._store({**old.raw, "status": status})

    def set_finalizers(self, key: ObjectKey, finalizers: Sequence[str], *, resource_version: str) -> StoredObject | None:
        with self._connection.write(durable=True):
            old = self._at(key, resource_version)
            if old.deleting and not set(finalizers) <= set(old.finalizers):
                raise Conflict(f"{key} is being deleted: finalizers can only be taken from it")
            if old.deleting and not finalizers:
                self._remove(old)
                return None
            return old if list(old.finalizers) == list(finalizers) else self._store(_with_metadata(old.raw, finalizers=list(finalizers)))

    def delete(self, key: ObjectKey, *, uid: str | None = None) -> StoredObject | None:
        with self._connection.write(durable=True):
            old = self.get(key)
            if uid is not None and uid != old.uid:
                raise Conflict(f"{key} is another object now (uid {old.uid}, not {uid}): look again")
            if not old.finalizers:
                self._remove(old)
                return None
            return old if old.deleting else self._store(_with_metadata(old.raw, deletionTimestamp=self._now()))

    def _apply(self, manifest: Raw, validate: Validator) -> Applied:
        # First by itself: until then not even its name can be relied upon.
        valid = validate(manifest, None)
        old = self.find(ObjectKey(valid["kind"], valid["metadata"]["namespace"], valid["metadata"]["name"]))
        if old is None:
            return self._store(_created(valid, self._now())), ApplyResult.CREATED
        if old.ending:
            raise Conflict(f"{old.key} is being deleted: wait until it is gone, then apply again")
        new = _merged(old.raw, validate(manifest, old))
        return (old, ApplyResult.UNCHANGED) if new == old.raw else (self._store(new), ApplyResult.CONFIGURED)

    def _at(self, key: ObjectKey, resource_version: str) -> StoredObject:
        found = self.get(key)
        if found.resource_version != resource_version:
            raise Conflict(f"{key} has changed (it is at {found.resource_version}, not at {resource_version}): look again")
        return found

    def _store(self, raw: Raw) -> StoredObject:
        revision = next_revision(self._connection)
        stored = StoredObject(_with_metadata(raw, resourceVersion=str(revision)))
        text = json.dumps(stored.raw, separators=(",", ":"))
        self._connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)", (*stored.key, stored.uid, revision, text))
        return stored

    def _remove(self, old: StoredObject) -> None:
        self._connection.execute("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", old.key)
        bury(self._connection, old, next_revision(self._connection))

    def _now(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def decode(connection: Connection, text: str) -> StoredObject:
    """An object out of its row. Raises Corrupt."""
    try:
        return StoredObject(json.loads(text))
    except ValueError as error:
        raise corrupt(connection.path, f"an object is not JSON: {error}") from error


def _with_metadata(raw: Raw, **fields: object) -> Raw:
    return {**raw, "metadata": {**raw["metadata"], **fields}}


def _created(valid: Raw, now: str) -> Raw:
    metadata = {**_users_metadata(valid), "uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": now}
    return {"apiVersion": API_VERSION, "kind": valid["kind"], "metadata": metadata, "spec": valid.get("spec", {})}


def _merged(old: Raw, valid: Raw) -> Raw:
    """The stored object with the manifest's spec, labels and annotations; a new generation if the spec is another."""
    spec = valid.get("spec", {})
    generation = old["metadata"]["generation"] + (spec != old["spec"])
    return {**_with_metadata(old, **_users_metadata(valid), generation=generation), "apiVersion": API_VERSION, "spec": spec}


def _users_metadata(valid: Raw) -> Raw:
    metadata = valid["metadata"]
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "labels": metadata.get("labels", {}),
        "annotations": metadata.get("annotations", {}),
    }
