"""Manifests from files to the store: all of them or nothing, and every problem with its file and line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix_client.errors import UsageError
from matrix_crds.errors import ManifestError, Problem
from matrix_crds.keys import ObjectKey
from matrix_crds.loading import MAX_BYTES, Manifest, load_manifests
from matrix_store.port import ApplyResult, Store, StoredObject

STDIN = Path("-")


def read_manifests(files: Sequence[Path]) -> list[Manifest]:
    """All objects of the files, in their order; `-` is stdin. Raises UsageError, and ManifestError with the problems of all files."""
    manifests: list[Manifest] = []
    problems: list[Problem] = []
    for file in files:
        try:
            manifests += load_manifests(_read(file), "stdin" if file == STDIN else str(file))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(problems)
    return manifests


async def apply_manifests(
    store: Store, manifests: Sequence[Manifest], namespace: str, *, dry_run: bool = False
) -> Sequence[tuple[StoredObject, ApplyResult]]:
    """Apply all of them, or none. `namespace` is for those that name none. Raises ManifestError, StoreError."""
    problems: list[Problem] = []
    for manifest in manifests:
        try:
            await store.apply(in_namespace(manifest.raw, namespace), dry_run=True)
        except ManifestError as error:
            problems += manifest.locate(error).problems
    if problems:
        raise ManifestError(problems)
    return await store.apply_all([in_namespace(manifest.raw, namespace) for manifest in manifests], dry_run=dry_run)


def keys_of(manifests: Sequence[Manifest], namespace: str) -> list[ObjectKey]:
    """What they declare."""
    metadata = [(manifest, in_namespace(manifest.raw, namespace)["metadata"]) for manifest in manifests]
    return [ObjectKey(manifest.key.kind, placed["namespace"], placed["name"]) for manifest, placed in metadata]


def in_namespace(raw: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The manifest, in `namespace` unless it names one."""
    metadata = raw.get("metadata")
    return {**raw, "metadata": {"namespace": namespace, **metadata}} if isinstance(metadata, dict) else raw


def _read(file: Path) -> bytes:
    """A file's bytes, or one more than a manifest may have: the loader refuses it then."""
    try:
        if file == STDIN:
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error
