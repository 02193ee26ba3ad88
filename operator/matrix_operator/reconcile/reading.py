"""Reading objects that may not parse: another version wrote them, or somebody by hand.

Of a status each look makes all anew but the allocation, so only that has to be readable. Of a cluster that is being deleted no more of
the spec has to be than what its end takes. That is never guessed: what is not there, or can't be read, is unknown.
"""

from __future__ import annotations

from typing import Any

from matrix_crds.base import Resource
from matrix_crds.cluster import MatrixClusterStatus
from matrix_crds.deployment import ModelDeploymentStatus
from matrix_crds.errors import ManifestError, Problem
from matrix_crds.registry import parse
from matrix_store.port import Raw, StoredObject

_STATUS: dict[str, type[MatrixClusterStatus | ModelDeploymentStatus]] = {
    "MatrixCluster": MatrixClusterStatus,
    "ModelDeployment": ModelDeploymentStatus,
}
_OF_THE_END = ("backend", "deletionPolicy")
"""What of a cluster's spec its end takes."""
_WITHOUT_EFFECT = ("labels", "annotations")


def section(raw: Raw, *path: str) -> Raw:
    """The mapping at that place; an empty one if there is none."""
    here: Any = raw
    for name in path:
        here = here.get(name) if isinstance(here, dict) else None
    return here if isinstance(here, dict) else {}


def readable_status(stored: StoredObject) -> MatrixClusterStatus | ModelDeploymentStatus:
    """What of its status can be read."""
    return _STATUS[stored.key.kind].readable(section(stored.raw, "status"))


def read(stored: StoredObject) -> Resource:
    """The typed object, as far as something is made of it. Raises ManifestError."""
    try:
        return stored.resource
    except ManifestError:
        raw = _with_a_readable_status(stored)
        return parse(_for_its_end(raw) if stored.key.kind == "MatrixCluster" and stored.deleting else raw)


def _with_a_readable_status(stored: StoredObject) -> Raw:
    """An allocation that can't be read stays as it is, and so does a status that is none: parsing tells what is wrong there."""
    raw, status = stored.raw.get("status"), readable_status(stored)
    if raw is not None and not isinstance(raw, dict):
        return stored.raw
    lost = {} if status.allocation else {"allocation": section(stored.raw, "status").get("allocation")}
    return {**stored.raw, "status": status.to_wire() | lost}


def _for_its_end(raw: Raw) -> Raw:
    """Raises ManifestError. A store fills in what a manifest leaves out, so a policy that is missing was not left out by the user."""
    spec = section(raw, "spec")
    if spec.get("deletionPolicy") is None:
        raise ManifestError([Problem(("spec", "deletionPolicy"), "is missing", "deletionPolicy: Delete")])
    metadata = {name: value for name, value in raw["metadata"].items() if name not in _WITHOUT_EFFECT}
    return {**raw, "metadata": metadata, "spec": {name: spec[name] for name in _OF_THE_END if name in spec}}
