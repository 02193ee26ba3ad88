"""Who a hub is: an id that stays the same for the life of an installation, by which a site knows that it is still the same hub.

It is an annotation of the Lease by which operators choose the one that acts: there already, kept over restarts and upgrades, and only the
holder writes to it.
"""

from __future__ import annotations

import uuid

from matrix_crds.constants import GROUP
from matrix_store.errors import Unavailable
from matrix_store.kubernetes.api import Api, replace_version

ANNOTATION = f"{GROUP}/hub-id"


async def hub_id(api: Api, namespace: str, lease: str) -> str:
    """Reads it, and makes it the first time; whoever calls holds the lease. Raises StoreError: Conflict when the lease was renewed in
    between."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{lease}"
    metadata = (await api.get(path))["metadata"]
    annotations = metadata.get("annotations") or {}
    if known := annotations.get(ANNOTATION):
        return str(known)
    new = f"hub-{uuid.uuid4()}"
    value = {"op": "add", "path": "/metadata/annotations", "value": {**annotations, ANNOTATION: new}}
    written = await api.patch(path, [replace_version(str(metadata["resourceVersion"])), value])
    if (written["metadata"].get("annotations") or {}).get(ANNOTATION) != new:
        raise Unavailable(f"the lease {lease} does not keep the annotation {ANNOTATION}, by which sites know their hub")
    return new
