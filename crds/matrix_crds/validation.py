"""From raw data to a typed object, or to all of its problems. One validation for the command line, Python and the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from matrix_crds.base import Model, Resource
from matrix_crds.constants import API_VERSION
from matrix_crds.errors import Location, ManifestError, Problem, UnknownKind
from matrix_crds.explain import explain, unknown_field
from matrix_crds.plain import describe, plain
from matrix_crds.registry import KindInfo, by_kind
from matrix_crds.tree import as_model, step, wire_fields

if TYPE_CHECKING:
    Raw = dict[str, Any]

USER_METADATA = ("name", "namespace", "labels", "annotations")
"""What a manifest sets."""
SERVER_METADATA = (
    "uid",
    "generateName",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "managedFields",
    "ownerReferences",
    "selfLink",
)
"""What a store sets. In a manifest it is let pass and not used, so that the output of `get -o yaml` can be applied again."""


def parse(raw: Raw) -> Resource:
    """A stored object, with metadata and status as they are. Raises ManifestError."""
    data = plain(raw)
    return _typed(data, _kind(data))


def applicable(raw: Raw) -> Raw:
    """What an apply takes from a manifest: no status, only metadata that a user sets, no nulls. Raises ManifestError."""
    data = plain(raw)
    _kind(data)
    return _user_part(data)


def validate(raw: Raw, old: Resource | None = None) -> Resource:
    """A manifest that someone wants to apply, over the object of that name if there is one. Raises ManifestError with all problems."""
    data = plain(raw)
    info = _kind(data)
    problems = [*_unknown_metadata(raw), *_unknown_without_value(raw, info.model)]
    try:
        resource = _typed(_user_part(data), info)
    except ManifestError as error:
        raise ManifestError([*problems, *error.problems]) from None
    if old is not None:
        problems += check_update(old, resource)
    if problems:
        raise ManifestError(problems)
    return resource


def check_update(old: Resource, new: Resource) -> Iterator[Problem]:
    """What the new object changes and may not."""
    before, after = old.to_wire().get("spec", {}), new.to_wire().get("spec", {})
    spec = type(new).model_fields["spec"].annotation
    assert isinstance(spec, type) and issubclass(spec, Model)
    for rule in spec.immutable:
        if before.get(rule.field) != after.get(rule.field):
            was = f"{rule.field}: {json.dumps(before[rule.field])}" if rule.field in before else f"without {rule.field}"
            yield Problem(("spec", rule.field), rule.message, was)


def _kind(data: object) -> KindInfo:
    """Which kind it says it is. Raises ManifestError."""
    if not isinstance(data, dict):
        wanted = "must be a mapping with apiVersion, kind, metadata and spec"
        raise ManifestError([Problem((), f"{wanted}, got {describe(data)}")])
    problems = list(_wrong_type(data))
    if problems:
        raise ManifestError(problems)
    return by_kind(data["kind"])


def _wrong_type(data: Raw) -> Iterator[Problem]:
    version, kind = data.get("apiVersion"), data.get("kind")
    if version is None:
        yield Problem(("apiVersion",), "is missing; add it", f"apiVersion: {API_VERSION}")
    elif version != API_VERSION:
        yield Problem(("apiVersion",), f"must be {API_VERSION}, got {describe(version)}")
    if kind is None:
        yield Problem(("kind",), "is missing; add it", "kind: MatrixCluster")
    elif not isinstance(kind, str):
        yield Problem(("kind",), f"must be text, got {describe(kind)}", "kind: MatrixCluster")
    elif version != API_VERSION:  # else the caller asks for it and gets the same
        try:
            by_kind(kind)
        except UnknownKind as error:
            yield from error.problems


def _typed(data: Raw, info: KindInfo) -> Resource:
    try:
        # As JSON and strictly: text is no number, a number is no text, and times and enums are text, as for an API server.
        return info.model.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ManifestError(list(explain(error, info.model))) from None


def _user_part(data: Raw) -> Raw:
    metadata = data.get("metadata")
    if isinstance(metadata, dict):
        metadata = {key: value for key, value in metadata.items() if key in USER_METADATA}
    rest = {key: value for key, value in data.items() if key not in ("metadata", "status")}
    return rest | ({} if metadata is None else {"metadata": metadata})


def _unknown_metadata(data: Raw) -> Iterator[Problem]:
    metadata = data.get("metadata")
    for key in metadata if isinstance(metadata, dict) else ():
        if key not in USER_METADATA and key not in SERVER_METADATA:
            location = ("metadata", key)
            yield Problem(location, unknown_field(location, list(USER_METADATA)))


def _unknown_without_value(raw: object, annotation: Any, location: Location = ()) -> Iterator[Problem]:
    """Fields that do not exist and have no value: `plain` has left them out, an API server refuses them."""
    model = as_model(annotation)
    if model is not None and model.model_config.get("extra") != "forbid":
        return
    for key, inner in raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, (list, tuple)) else ():
        place = (*location, key)
        if inner is None and model is not None and key not in wire_fields(model):
            yield Problem(place, unknown_field(place, list(wire_fields(model))))
        yield from _unknown_without_value(inner, step(annotation, key), place)
