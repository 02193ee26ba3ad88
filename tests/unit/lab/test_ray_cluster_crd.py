"""Our small RayCluster CRD against KubeRay's, where a copy of that is at hand: what ours says, theirs says too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.kuberay.structure import schema_of

ROOT = Path(__file__).parents[3]
OURS = ROOT / "tests" / "lab" / "kuberay" / "rayclusters.yaml"
THEIRS = ROOT.parent / "shared" / "data" / "kuberay-crds" / "ray.io_rayclusters.yaml"

Schema = dict[str, Any]


def differences(ours: Schema, theirs: Schema, at: str) -> Iterator[str]:
    for fact in ("type", "default", "enum", "format", "x-kubernetes-list-type"):
        if fact in ours and _plain(ours[fact]) != _plain(theirs.get(fact)):
            yield f"{at}: {fact}"
    if "properties" in ours and sorted(ours.get("required", [])) != sorted(theirs.get("required", [])):
        yield f"{at}: required"
    for name, schema in ours.get("properties", {}).items():
        if name not in theirs["properties"]:
            yield f"{at}.{name}: not known to KubeRay"
        else:
            yield from differences(schema, theirs["properties"][name], f"{at}.{name}")
    if "items" in ours:
        yield from differences(ours["items"], theirs["items"], f"{at}[]")


def _plain(fact: Any) -> Any:
    """The order of an enum does not matter."""
    return sorted(fact) if isinstance(fact, list) else fact


def test_what_ours_says_theirs_says_too() -> None:
    if not THEIRS.exists():
        pytest.skip("no copy of KubeRay's CRDs beside the checkout")
    ours, theirs = (schema_of(crd, "v1")["properties"]["spec"] for crd in (OURS, THEIRS))
    assert list(differences(ours, theirs, "spec")) == []
