"""The kinds: one entry each. A new kind is one file with its model, and one entry here. No pydantic: listing kinds is quick.

The printer columns go into the CRD (`kubectl get`) and into the tables of `matrix get` alike.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from matrix_crds.errors import UnknownKind

if TYPE_CHECKING:
    from matrix_crds.base import Resource
    from matrix_crds.reasons import Documented

CATEGORY = "matrix"
"""`kubectl get matrix` lists all kinds."""


@dataclass(frozen=True)
class Column:
    """A column of a table of objects."""

    name: str
    json_path: str
    """As kubectl reads it, such as .status.summary."""
    type: str = "string"
    """string | integer | date."""
    priority: int = 0
    """0: always; 1: with -o wide."""


@dataclass(frozen=True)
class Scale:
    """The scale subresource: where the wanted and the present number of replicas are."""

    spec_path: str = ".spec.replicas"
    status_path: str = ".status.readyReplicas"


@dataclass(frozen=True)
class KindInfo:
    """What one must know of a kind without its model. `*_source` are "module:Class", imported when first asked for."""

    kind: str
    plural: str
    singular: str
    short: str
    columns: tuple[Column, ...]
    model_source: str
    conditions_source: str
    reasons_source: str
    scale: Scale | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that the kind may be called."""
        return (self.kind, self.plural, self.singular, self.short)

    @cached_property
    def model(self) -> type[Resource]:
        """The pydantic model; imports pydantic."""
        return _load(self.model_source)  # type: ignore[no-any-return]

    @cached_property
    def conditions(self) -> type[Documented]:
        """Its conditions' types; imports the model's module."""
        return _load(self.conditions_source)  # type: ignore[no-any-return]

    @cached_property
    def reasons(self) -> type[Documented]:
        """Its conditions' reasons."""
        return _load(self.reasons_source)  # type: ignore[no-any-return]


def _load(source: str) -> Any:
    module, _, name = source.partition(":")
    return getattr(import_module(module), name)


def _columns(*middle: Column) -> tuple[Column, ...]:
    """What every table begins and ends with."""
    ready = '.status.conditions[?(@.type=="Ready")]'
    return (
        Column("Ready", f"{ready}.status"),
        *middle,
        Column("Summary", ".status.summary"),
        Column("Reason", f"{ready}.reason", priority=1),
        Column("Endpoint", '.status.endpoints[?(@.name=="openai")].url', priority=1),
        Column("Age", ".metadata.creationTimestamp", type="date"),
    )


KINDS: tuple[KindInfo, ...] = (
    KindInfo(
        kind="MatrixCluster",
        plural="matrixclusters",
        singular="matrixcluster",
        short="mxc",
        columns=_columns(Column("Backend", ".status.backend"), Column("Workers", ".status.workers.display")),
        model_source="matrix_crds.cluster:MatrixCluster",
        conditions_source="matrix_crds.cluster:ClusterCondition",
        reasons_source="matrix_crds.reasons:ClusterReason",
    ),
    KindInfo(
        kind="ModelDeployment",
        plural="modeldeployments",
        singular="modeldeployment",
        short="mxd",
        columns=_columns(Column("Model", ".status.model"), Column("Replicas", ".status.replicas.display")),
        model_source="matrix_crds.deployment:ModelDeployment",
        conditions_source="matrix_crds.deployment:DeploymentCondition",
        reasons_source="matrix_crds.reasons:DeploymentReason",
        scale=Scale(),
    ),
)
_BY_NAME = {name.lower(): info for info in KINDS for name in info.names}
_BY_KIND = {info.kind: info for info in KINDS}


def lookup(text: str) -> KindInfo:
    """The kind called that: kind, plural, singular or short name, in any case. Raises UnknownKind."""
    info = _BY_NAME.get(text.lower())
    if info is None:
        raise UnknownKind(f"there is no kind {text!r}{_meant(text.lower(), [*_BY_NAME])}; the kinds are {_listed()}")
    return info


def by_kind(kind: str) -> KindInfo:
    """The kind of exactly that name, as manifests write it. Raises UnknownKind with the location `kind`."""
    info = _BY_KIND.get(kind)
    if info is None:
        near = _BY_NAME.get(kind.lower())
        hint = f"; did you mean {near.kind}?" if near else _meant(kind, [*_BY_KIND])
        raise UnknownKind(f"there is no kind {kind!r}{hint}; the kinds are {', '.join(_BY_KIND)}", ("kind",))
    return info


def parse(raw: dict[str, Any]) -> Resource:
    """A stored object, with its status. Raises ManifestError."""
    from matrix_crds.validation import parse

    return parse(raw)


def _meant(text: str, names: list[str]) -> str:
    near = difflib.get_close_matches(text, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _listed() -> str:
    return ", ".join(f"{info.kind} ({info.short})" for info in KINDS)
