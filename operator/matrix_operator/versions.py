"""Versions meet politely: the runtime inside a cluster may be one minor version apart from this operator, not more."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def own_version() -> str:
    """The version of this release."""
    return version("matrix-operator")


def incompatibility(runtime_version: str, operator_version: str | None = None) -> str | None:
    """What is wrong between the two versions and what to do, or None."""
    mine = operator_version or own_version()
    theirs = _numbers(runtime_version)
    if theirs is None:
        return f"the cluster's runtime says it is version {runtime_version!r}, which is no version; make the cluster anew"
    own = _numbers(mine)
    if own is not None and own[0] == theirs[0] and abs(own[1] - theirs[1]) <= 1:
        return None
    return f"the cluster runs Matrix {runtime_version}, this controller is {mine}: more than one minor version apart; make the cluster anew"


def _numbers(text: str) -> tuple[int, int] | None:
    parts = text.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])
