"""The CustomResourceDefinition of a kind, as a dictionary."""

from __future__ import annotations

from typing import Any

from matrix_crds.constants import GROUP, VERSION
from matrix_crds.registry import CATEGORY, Column, KindInfo
from matrix_crds.schema import root_schema


def definition(info: KindInfo) -> dict[str, Any]:
    """apiextensions.k8s.io/v1."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.singular,
                "shortNames": [info.short],
                "categories": [CATEGORY],
            },
            "versions": [_version(info)],
        },
    }


def _version(info: KindInfo) -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in info.columns],
        "subresources": _subresources(info),
        "schema": {"openAPIV3Schema": root_schema(info.model)},
    }


def _column(column: Column) -> dict[str, Any]:
    head = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    return head | ({"priority": column.priority} if column.priority else {})


def _subresources(info: KindInfo) -> dict[str, Any]:
    scale = {"specReplicasPath": info.scale.spec_path, "statusReplicasPath": info.scale.status_path} if info.scale else None
    return {"status": {}} | ({"scale": scale} if scale else {})
