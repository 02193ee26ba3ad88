"""What stands beside a RayCluster: Secrets and a Service. Made when missing, given another owner, deleted; never those of others."""

from __future__ import annotations

from matrix_crds.cluster import MatrixCluster
from matrix_operator.backends.kuberay.checks import check_name
from matrix_operator.backends.kuberay.names import Object, is_ours, owner_references, ray_cluster_name
from matrix_operator.backends.kuberay.paths import collection, one
from matrix_operator.backends.kuberay.reading import items
from matrix_operator.backends.kuberay.removal import companions, still_owned
from matrix_store.errors import Conflict, NotFound
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.faults import AlreadyThere, KindUnknown


async def create(api: Api, cluster: MatrixCluster, wanted: Object) -> bool:
    """Whether it was made; False if it is there already and ours. Raises BackendRefusal if it is somebody else's, StoreError."""
    kind, name = wanted["kind"], wanted["metadata"]["name"]
    try:
        await api.create(collection(kind, cluster.metadata.namespace), wanted)
    except AlreadyThere:
        check_name(cluster, await find(api, cluster, kind, name), kind)
        return False
    return True


async def find(api: Api, cluster: MatrixCluster, kind: str, name: str) -> Object | None:
    """As it is now; None if it is not there (or there can't be any of its kind). Raises StoreError."""
    try:
        return await api.get(one(kind, cluster.metadata.namespace, name))
    except (NotFound, KindUnknown):
        return None


async def delete(api: Api, cluster: MatrixCluster, found: Object, kind: str, grace: int | None = None) -> None:
    """That very object: one that has taken its place in between stays. `grace`: seconds that a pod may take, also one that is ending
    already. Raises StoreError."""
    metadata = found["metadata"]
    options: Object = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
    options |= {} if grace is None else {"gracePeriodSeconds": grace}
    try:
        await api.delete(one(kind, cluster.metadata.namespace, metadata["name"]), options)
    except (NotFound, Conflict):
        return


async def delete_all(api: Api, cluster: MatrixCluster) -> None:
    """Raises StoreError."""
    for kind, name in companions(cluster):
        found = await find(api, cluster, kind, name)
        if found is not None and is_ours(found, cluster):
            await delete(api, cluster, found, kind)


async def align_owners(api: Api, cluster: MatrixCluster, *, owned: bool) -> list[Object]:
    """Make all that is ours, the RayCluster as well, follow the MatrixCluster's end, or (`owned` False) outlive it. What is owned still
    and should not be is returned. Raises StoreError."""
    left: list[Object] = []
    for kind, name in (("RayCluster", ray_cluster_name(cluster)), *companions(cluster)):
        found = await find(api, cluster, kind, name)
        if found is None or not is_ours(found, cluster):
            continue
        if bool(still_owned(cluster, [found])) != owned:
            found = await api.merge(one(kind, cluster.metadata.namespace, name), _with_owners(cluster, found, owned=owned))
        left += [] if owned else still_owned(cluster, [found])
    return left


def _with_owners(cluster: MatrixCluster, found: Object, *, owned: bool) -> Object:
    others = [owner for owner in items(found, "metadata", "ownerReferences") if owner["uid"] != cluster.metadata.uid]
    owners = others + (owner_references(cluster) if owned else [])
    return {"metadata": {"ownerReferences": owners, "resourceVersion": found["metadata"]["resourceVersion"]}}
