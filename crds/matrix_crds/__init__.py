"""The resource model: kinds, validation, and what is generated from them. Names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matrix_crds.base import Condition as Condition
    from matrix_crds.base import Resource as Resource
    from matrix_crds.cluster import MatrixCluster as MatrixCluster
    from matrix_crds.cluster import MatrixClusterSpec as MatrixClusterSpec
    from matrix_crds.deployment import ModelDeployment as ModelDeployment
    from matrix_crds.deployment import ModelDeploymentSpec as ModelDeploymentSpec
    from matrix_crds.errors import ManifestError as ManifestError
    from matrix_crds.errors import Problem as Problem
    from matrix_crds.errors import UnknownKind as UnknownKind
    from matrix_crds.keys import ObjectKey as ObjectKey
    from matrix_crds.loading import Manifest as Manifest
    from matrix_crds.loading import load_manifests as load_manifests
    from matrix_crds.registry import KINDS as KINDS
    from matrix_crds.registry import KindInfo as KindInfo
    from matrix_crds.registry import lookup as lookup
    from matrix_crds.registry import parse as parse
    from matrix_crds.validation import applicable as applicable
    from matrix_crds.validation import validate as validate

_HOMES = {
    "Condition": "base",
    "KINDS": "registry",
    "KindInfo": "registry",
    "Manifest": "loading",
    "ManifestError": "errors",
    "MatrixCluster": "cluster",
    "MatrixClusterSpec": "cluster",
    "ModelDeployment": "deployment",
    "ModelDeploymentSpec": "deployment",
    "ObjectKey": "keys",
    "Problem": "errors",
    "Resource": "base",
    "UnknownKind": "errors",
    "applicable": "validation",
    "load_manifests": "loading",
    "lookup": "registry",
    "parse": "registry",
    "validate": "validation",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
