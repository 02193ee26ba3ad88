"""Whether an operator works on the objects of an API server: it renews a Lease every two seconds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from matrix_crds.on_kubernetes import OPERATOR
from matrix_store.errors import Forbidden, StoreError
from matrix_store.kubernetes.api import Api
from matrix_store.port import Raw

FRESH = timedelta(seconds=15)
"""A renewal that is younger says enough. An older one may be due to a clock that is wrong: then it counts whether it moves."""
LOOK_AGAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Operator:
    """What the Leases say."""

    running: bool
    words: str
    """Who holds the Lease, or what is wrong."""
    host: str = ""
    """The machine, or the pod, of the one that runs."""


async def find_operator(api: Api, namespace: str) -> Operator | None:
    """None where it can't be told from here: no right to look, or no answer. `namespace`: where to look if not everywhere."""
    try:
        leases = await _leases(api, namespace)
        if not leases or any(_fresh(lease) for lease in leases):
            return _judged(leases, moved=False)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        before = {_version(lease) for lease in leases}
        now = await _leases(api, namespace)
        return _judged(now, moved=any(_version(lease) not in before for lease in now))
    except StoreError:
        return None


async def _leases(api: Api, namespace: str) -> list[Raw]:
    """An operator may live in any namespace. Who may not look everywhere looks where the objects are, and an empty answer says nothing."""
    by_name = f"metadata.name={OPERATOR}"
    try:
        return (await api.list_all("/apis/coordination.k8s.io/v1/leases", fieldSelector=by_name))[0]
    except Forbidden:
        found, _ = await api.list_all(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", fieldSelector=by_name)
        if not found:
            raise
        return found


def _judged(leases: list[Raw], *, moved: bool) -> Operator:
    if not leases:
        return Operator(False, f"no operator is installed: there is no Lease {OPERATOR} in any namespace")
    held = [lease for lease in leases if _holder(lease)]
    alive = next((lease for lease in held if moved or _fresh(lease)), None)
    if alive is not None:
        # The holder's name ends with its process and a number of its own (operator: _identity).
        return Operator(True, f"{_holder(alive)} in namespace {alive['metadata']['namespace']}", _holder(alive).rsplit("_", 2)[0])
    place = leases[0]["metadata"]["namespace"]
    if not held:
        return Operator(False, f"the operator in namespace {place} was stopped: nobody holds the Lease {OPERATOR}")
    since = _renewed(held[0])
    when = f"since {since:%Y-%m-%d %H:%M:%S %Z}" if since else "for a while"
    return Operator(False, f"the operator {_holder(held[0])} in namespace {place} has not renewed the Lease {OPERATOR} {when}")


def _holder(lease: Raw) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _version(lease: Raw) -> tuple[str, str]:
    return lease["metadata"]["uid"], lease["metadata"]["resourceVersion"]


def _renewed(lease: Raw) -> datetime | None:
    text = (lease.get("spec") or {}).get("renewTime")
    return datetime.fromisoformat(text) if text else None


def _fresh(lease: Raw) -> bool:
    renewed = _renewed(lease)
    return bool(_holder(lease)) and renewed is not None and abs(datetime.now(UTC) - renewed) < FRESH
