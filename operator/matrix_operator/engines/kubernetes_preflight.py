"""What has to be so before an operator can work on a cluster. What is not is said at once, with what to do about it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

from matrix_crds.constants import API_VERSION
from matrix_crds.crd import definition
from matrix_crds.registry import KINDS
from matrix_operator.rbac import Place, needs
from matrix_store.errors import Forbidden, NotFound, Rejected, Unavailable
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.faults import KindUnknown, Unauthenticated, Untrusted
from matrix_store.kubernetes.paths import GROUP_VERSION, collection

log = logging.getLogger(__name__)

REACHABLE_SECONDS = 120.0
"""How long an API server may be away at the start."""
AGAIN_SECONDS = 2.0
PUBLISHED_SECONDS = 10.0
"""How long the API server may take to publish the schema of a CRD that was applied a moment ago."""
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
AT_ONCE = 16
"""Reviews on their way: with many namespaces there are thousands."""
TOLD = 12
"""Missing rights and fields that are named; more are counted."""


class NotReady(Unavailable):
    """The cluster is not as the operator needs it; somebody has to change that."""


async def check(api: Api, place: Place, seconds: float = REACHABLE_SECONDS) -> None:
    """Returns when an operator can begin. An API server that does not answer yet, or not with all it has, is waited for: a network or a
    control plane may be just starting. Raises NotReady, or another StoreError, when it makes no sense to begin."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await current(api)
            await allowed(api, place)
            await listed(api, place)
            return
        except (NotReady, KindUnknown, Unauthenticated, Untrusted):
            raise
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise NotReady(f"{error}; it was waited for {seconds:.0f} s") from error
            log.warning("waiting for the API server, for another %.0f s at most: %s", deadline - time.monotonic(), error)
        await asyncio.sleep(AGAIN_SECONDS)


async def listed(api: Api, place: Place) -> None:
    """Our kinds are served a moment after the API server itself has started. Raises Unavailable."""
    for namespace in place.namespaces or (None,):
        for info in KINDS:
            await api.get(collection(info.kind, namespace), limit="1")


async def current(api: Api, seconds: float = PUBLISHED_SECONDS) -> None:
    """Raises NotReady if our kinds are not served, or lack what this version writes."""
    served = {str(item["kind"]) for item in (await api.get(GROUP_VERSION)).get("resources") or ()}
    if absent := {info.kind for info in KINDS} - served:
        raise NotReady(f"the cluster does not know {', '.join(sorted(absent))} of {API_VERSION}: {INSTALL}")
    deadline = time.monotonic() + seconds
    while missing := await _missing_fields(api):
        if time.monotonic() > deadline:
            raise NotReady(f"the CRDs of the cluster are older than this operator, they lack {_some(missing)}: {INSTALL}")
        await asyncio.sleep(AGAIN_SECONDS)


INSTALL = "install those of this version with `kubectl apply --server-side -f crds/`"


async def _missing_fields(api: Api) -> list[str]:
    """Fields of ours that the served schemas do not have; none when the schemas can't be read."""
    try:
        published = await api.get(f"/openapi/v3{GROUP_VERSION}")
    except (Forbidden, NotFound, Rejected, KindUnknown) as error:
        log.warning("whether the CRDs are current could not be seen: %s", error)
        return []
    schemas = published.get("components", {}).get("schemas", {}).values()
    by_kind = {kind["kind"]: schema for schema in schemas for kind in schema.get("x-kubernetes-group-version-kind", ())}
    missing: list[str] = []
    for info in KINDS:
        ours = definition(info)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        missing += lacking(ours, by_kind.get(info.kind, {}), info.kind)
    return missing


def lacking(ours: Any, served: Any, path: str) -> Iterator[str]:
    """The fields and the values of enums in `ours` that `served` does not have, by their paths. `metadata` is the API server's own."""
    yield from (f"{path}={value}" for value in set(ours.get("enum", ())) - set(served.get("enum", ours.get("enum", ()))))
    for part in ("items", "additionalProperties"):
        if isinstance(ours.get(part), dict):
            yield from lacking(ours[part], served.get(part) or {}, f"{path}[]")
    there = served.get("properties") or {}
    for name, schema in (ours.get("properties") or {}).items():
        if name not in there:
            yield f"{path}.{name}"
        elif name != "metadata":
            yield from lacking(schema, there[name], f"{path}.{name}")


async def allowed(api: Api, place: Place) -> None:
    """Raises NotReady that names the rights which are missing."""
    wanted = needs(place)
    gate = asyncio.Semaphore(AT_ONCE)
    try:
        answers = await asyncio.gather(*(_may(api, attributes, gate) for attributes in wanted.values()))
    except (Forbidden, Rejected) as error:  # then the first call that is refused will tell
        log.warning("whether all rights are there could not be seen: %s", error)
        return
    if refused := [right for right, answer in zip(wanted, answers, strict=True) if not answer]:
        raise NotReady(f"this account may not {_some(refused)}: bind it to the roles in deploy/rbac")


async def _may(api: Api, attributes: dict[str, str], gate: asyncio.Semaphore) -> bool:
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    async with gate:
        return bool((await api.create(REVIEWS, review))["status"]["allowed"])


def _some(names: list[str]) -> str:
    more = len(names) - TOLD
    return ", ".join(names[:TOLD]) + (f" and {more} more" if more > 0 else "")
