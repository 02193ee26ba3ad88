"""What the store's tests share."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from matrix_crds.keys import ObjectKey
from matrix_store.database import Database
from matrix_store.port import Change, ChangeType, Raw, StoredObject

KIND = "MatrixCluster"
OTHER_KIND = "ModelDeployment"
WAIT_SECONDS = 60.0

T = TypeVar("T")


class Refused(Exception):
    """What the tests' validator raises in place of a ManifestError."""


def manifest(name: str = "one", cpu: str = "2", *, kind: str = KIND, namespace: str = "default", **metadata: Any) -> Raw:
    """A manifest that the real validator takes as well."""
    spec: Raw = {"head": {"resources": {"cpu": cpu, "memory": "4Gi"}}}
    if kind == OTHER_KIND:
        spec = {"clusterRef": {"name": "one"}, "model": {"source": "hf://org/model"}, "engine": {"dummy": {}}, "resources": {"cpu": cpu}}
    return {"apiVersion": "matrix.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec}


def key(name: str = "one", *, kind: str = KIND, namespace: str = "default") -> ObjectKey:
    return ObjectKey(kind, namespace, name)


def plain_validator() -> Callable[[Raw, StoredObject | None], Raw]:
    """Takes every manifest that has a spec: the store's own behaviour is tried apart from the resource model's."""

    def check(raw: Raw, stored: StoredObject | None) -> Raw:
        if not isinstance(raw.get("spec"), dict):
            raise Refused(f"spec: missing in {raw.get('kind')}")
        valid = copy.deepcopy(raw)
        valid["metadata"].setdefault("namespace", "default")
        return valid

    return check


def open_database(path: Path, busy_seconds: float = 5.0) -> Database:
    return Database(path, validator=plain_validator, busy_seconds=busy_seconds)


def open_on_network(path: Path, busy_seconds: float = 5.0) -> Database:
    """As on a network file system: with a rollback journal."""
    return Database(path, validator=plain_validator, busy_seconds=busy_seconds, local=lambda _: False)


def run(body: Awaitable[T]) -> T:
    """Run a test's coroutine, with a deadline."""

    async def with_deadline() -> T:
        return await asyncio.wait_for(body, WAIT_SECONDS)

    return asyncio.run(with_deadline())


async def until(changes: AsyncIterator[Change], wanted: Callable[[Change], bool]) -> list[Change]:
    """What a watch tells, up to the first change that is wanted."""
    told: list[Change] = []
    async for change in changes:
        told.append(change)
        if wanted(change):
            return told
    raise AssertionError(f"the watch ended after {told}")


def is_synced(change: Change) -> bool:
    return change.type is ChangeType.SYNCED
