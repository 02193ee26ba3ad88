"""KubernetesStore: the Store port over the API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from matrix_crds.keys import ObjectKey
from matrix_store.errors import Conflict, NotFound, Rejected
from matrix_store.kubernetes import paths
from matrix_store.kubernetes.api import Api, replace_version
from matrix_store.kubernetes.connection import connect
from matrix_store.kubernetes.events import Events
from matrix_store.kubernetes.faults import AlreadyThere
from matrix_store.kubernetes.manifests import USERS_MAPS, changes, creation, stored, stored_items
from matrix_store.kubernetes.watch import Watch
from matrix_store.port import ApplyResult, Change, Event, Raw, StoredObject
from matrix_store.validation import Validator, model_validator

APPLY_TRIES = 5
"""Others write at the same time (a status, most of all): an apply looks again so often."""


class KubernetesStore:
    """Implements matrix_store.port.Store; belongs to one event loop. `namespace` limits what is watched and listed to one namespace,
    for an account that may not see all of them."""

    def __init__(self, api: Api, namespace: str | None = None, validator: Callable[[], Validator] = model_validator) -> None:
        self._api = api
        self._namespace = namespace
        self._validator = validator
        self._events = Events(api)
        self._watches: set[Watch] = set()

    @classmethod
    def open(cls, context: str | None = None, kubeconfig: Path | None = None, namespace: str | None = None) -> KubernetesStore:
        """Opens no connection yet. Raises Unavailable (connection.connect)."""
        return cls(Api(connect(context, kubeconfig)), namespace)

    async def get(self, key: ObjectKey) -> StoredObject:
        return stored(await self._read(key))

    async def list(self, kind: str, namespace: str | None = None) -> Sequence[StoredObject]:
        found, _ = await self.list_at(kind, namespace) if kind in paths.PLURALS else ([], 0)
        return sorted(found, key=lambda item: item.key)

    async def list_at(self, kind: str, namespace: str | None = None) -> tuple[Sequence[StoredObject], int]:
        """All of a kind, and the version of the store at which that is so."""
        items, version = await self._api.list_all(paths.collection(kind, namespace or self._namespace))
        return stored_items(kind, items), int(version)

    async def served_kinds(self) -> frozenset[str]:
        """The kinds that the API server names when it is asked what it has: a new one is served a moment before it is named."""
        return frozenset(str(item["kind"]) for item in (await self._api.get(paths.GROUP_VERSION)).get("resources") or ())

    async def watch(self, *kinds: str, namespace: str | None = None) -> AsyncIterator[Change]:
        watch = Watch(self._api, {kind: paths.collection(kind, namespace or self._namespace) for kind in kinds})
        self._watches.add(watch)
        try:
            async for change in watch.changes():
                yield change
        finally:
            self._watches.discard(watch)

    async def apply(self, manifest: Raw, *, dry_run: bool = False) -> tuple[StoredObject, ApplyResult]:
        validate = self._validator()
        valid = validate(manifest, None)
        key = ObjectKey(valid["kind"], valid["metadata"]["namespace"], valid["metadata"]["name"])
        for _ in range(APPLY_TRIES):
            try:
                return await self._apply(key, valid, lambda old: validate(manifest, old), dry_run=dry_run)
            except _Moved:
                continue
        raise Conflict(f"{key} is being changed by others all the time; try again")

    async def apply_all(self, manifests: Sequence[Raw], *, dry_run: bool = False) -> Sequence[tuple[StoredObject, ApplyResult]]:
        tried = [await self.apply(manifest, dry_run=True) for manifest in manifests]
        return tried if dry_run else [await self.apply(manifest) for manifest in manifests]

    async def write_spec(self, key: ObjectKey, spec: Raw, *, resource_version: str) -> StoredObject:
        old = await self.get(key)
        if old.resource_version != resource_version:
            raise Conflict(f"{key} has changed (it is at {old.resource_version}, not at {resource_version}): look again")
        _refuse_deleting(old)
        valid = self._validator()({**old.raw, "spec": spec}, old)
        return await self._patch(key, resource_version, [{"op": "replace", "path": "/spec", "value": valid["spec"]}])

    async def write_status(self, key: ObjectKey, status: Raw, *, resource_version: str) -> StoredObject:
        return await self._patch(key, resource_version, [{"op": "add", "path": "/status", "value": status}], "status")

    async def set_finalizers(self, key: ObjectKey, finalizers: Sequence[str], *, resource_version: str) -> StoredObject | None:
        operation = {"op": "add", "path": "/metadata/finalizers", "value": list(finalizers)}
        try:
            left = await self._patch(key, resource_version, [operation])
        except Rejected as error:
            if (await self.get(key)).deleting:
                raise Conflict(f"{key} is being deleted: finalizers can only be taken from it") from error
            raise
        return None if left.deleting and not left.finalizers else left

    async def delete(self, key: ObjectKey, *, uid: str | None = None) -> StoredObject | None:
        options: Raw = {"propagationPolicy": "Background"} | ({"preconditions": {"uid": uid}} if uid else {})
        async with _named(key):
            answer = await self._api.delete(paths.of(key), options)
        # The object while something holds it, a Status when it has gone.
        return stored(answer) if answer.get("kind") == key.kind and _held(answer) else None

    async def record(self, event: Event) -> None:
        self._events.record(event)

    async def events(self, key: ObjectKey | None = None, namespace: str | None = None) -> Sequence[Event]:
        return await self._events.list(key, namespace or self._namespace)

    async def close(self) -> None:
        for watch in tuple(self._watches):
            watch.close()
        await self._events.close()
        await self._api.close()

    async def _read(self, key: ObjectKey) -> Raw:
        if key.kind not in paths.PLURALS:
            raise NotFound(f"{key} not found")
        async with _named(key):
            return await self._api.get(paths.of(key))

    async def _apply(
        self, key: ObjectKey, valid: Raw, valid_after: Callable[[StoredObject], Raw], *, dry_run: bool
    ) -> tuple[StoredObject, ApplyResult]:
        try:
            raw = await self._read(key)
        except NotFound:
            return await self._create(key, creation(valid), dry_run=dry_run), ApplyResult.CREATED
        old = stored(raw)
        _refuse_deleting(old)
        patch = changes(raw, valid_after(old))
        if not patch:
            return old, ApplyResult.UNCHANGED
        try:
            new = stored(await self._api.patch(paths.of(key), patch, dry_run=dry_run))
        except (Conflict, NotFound) as error:
            raise _Moved from error
        return new, ApplyResult.UNCHANGED if _same(new, old) else ApplyResult.CONFIGURED

    async def _create(self, key: ObjectKey, body: Raw, *, dry_run: bool) -> StoredObject:
        try:
            return stored(await self._api.create(paths.collection(key.kind, key.namespace), body, dry_run=dry_run))
        except AlreadyThere as error:
            raise _Moved from error

    async def _patch(self, key: ObjectKey, resource_version: str, operations: Sequence[Raw], subresource: str = "") -> StoredObject:
        async with _named(key):
            return stored(await self._api.patch(paths.of(key, subresource), [replace_version(resource_version), *operations]))


class _Moved(Exception):
    """The object has changed between the look and the write."""


@asynccontextmanager
async def _named(key: ObjectKey) -> AsyncIterator[None]:
    """The errors of calls that name an object, in the words of the other stores."""
    try:
        yield
    except NotFound as error:
        raise NotFound(f"{key} not found") from error
    except Conflict as error:
        raise Conflict(f"{key} has changed: look again ({error})") from error


def _refuse_deleting(old: StoredObject) -> None:
    if old.ending:
        raise Conflict(f"{old.key} is being deleted: wait until it is gone, then apply again")


def _held(raw: Raw) -> bool:
    return bool(raw["metadata"].get("finalizers"))


def _same(new: StoredObject, old: StoredObject) -> bool:
    """By what an apply writes: the resourceVersion stays in a dry run, and moves when only the record of who set a field does."""
    metadata = all((new.raw["metadata"].get(field) or {}) == (old.raw["metadata"].get(field) or {}) for field in USERS_MAPS)
    return metadata and new.raw.get("spec") == old.raw.get("spec")
