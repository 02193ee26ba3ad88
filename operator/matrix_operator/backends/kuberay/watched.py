"""What the API server has of all clusters, followed and kept in memory: a look at a cluster asks nobody.

RayClusters, pods and Services are chosen by our label, so those of others cost nothing; events by being warnings about a RayCluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from contextlib import suppress

from matrix_crds.cluster import MatrixCluster
from matrix_crds.on_kubernetes import UID_LABEL
from matrix_operator.backends.kuberay.index import Index
from matrix_operator.backends.kuberay.names import Object, ray_cluster_name
from matrix_operator.backends.kuberay.paths import collection
from matrix_operator.backends.kuberay.reading import label
from matrix_operator.backends.kuberay.rejection import REASONS
from matrix_operator.backends.kuberay.sight import Sight, sight
from matrix_operator.backends.kuberay.slim import slim_event, slim_pod, slim_ray_cluster, slim_service
from matrix_operator.tasks import first_to_end
from matrix_store.errors import StoreError
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.faults import KindUnknown
from matrix_store.kubernetes.follow import Follower

log = logging.getLogger(__name__)

OURS = {"labelSelector": UID_LABEL}
WARNINGS = {"fieldSelector": "involvedObject.kind=RayCluster,type=Warning"}
WITHOUT_KUBERAY_SECONDS = 5.0
"""Between two looks whether KubeRay's CRDs are there by now."""


def _named(raw: Object) -> Hashable:
    return raw["metadata"].get("namespace"), raw["metadata"]["name"]


def _owned(raw: Object) -> Hashable:
    return label(raw, UID_LABEL)


def _about(event: Object) -> Hashable | None:
    return str((event.get("involvedObject") or {}).get("uid")) if event.get("reason") in REASONS else None


class Watched:
    """One namespace, or (None) all of them."""

    def __init__(self, api: Api, namespace: str | None) -> None:
        self._ray_clusters = Index(_named, slim_ray_cluster)
        self._pods = Index(_owned, slim_pod)
        self._services = Index(_owned, slim_service)
        self._events = Index(_about, slim_event)
        self._unknown = asyncio.Event()
        """The API server has said that it knows no RayClusters."""
        self._ray_follower = Follower(api, collection("RayCluster", namespace), self._ray_clusters, OURS)
        self._followers = [
            Follower(api, collection("Pod", namespace), self._pods, OURS),
            Follower(api, collection("Service", namespace), self._services, OURS),
            Follower(api, collection("Event", namespace), self._events, WARNINGS),
        ]

    @property
    def kuberay_missing(self) -> bool:
        """The API server knows no RayClusters (any more)."""
        never = self._unknown.is_set() and not self._ray_follower.synced.is_set()
        return never or self._ray_follower.unknown

    @property
    def complete(self) -> bool:
        """Everything there was at the start is known."""
        return (self._ray_follower.synced.is_set() or self.kuberay_missing) and all(one.synced.is_set() for one in self._followers)

    async def told(self, seconds: float) -> bool:
        """Whether it is complete, or gets so within that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for follower in self._followers:
                    await follower.synced.wait()
                await first_to_end(self._ray_follower.synced.wait(), self._unknown.wait())
        return self.complete

    @property
    def age(self) -> float:
        """Seconds since the one that is silent longest was heard."""
        followers = self._followers if self.kuberay_missing else [*self._followers, self._ray_follower]
        return max(follower.age for follower in followers)

    async def run(self) -> None:
        """Until cancelled. Raises StoreError if what exists can't be listed at first."""
        await first_to_end(self._follow_ray_clusters(), *(follower.run() for follower in self._followers))

    async def _follow_ray_clusters(self) -> None:
        """KubeRay may be installed after us, or never: then a look whether it is there by now may fail as a watch may."""
        while True:
            try:
                await self._ray_follower.run()
            except KindUnknown:
                if not self._unknown.is_set():
                    log.warning("KubeRay is not installed: the API server knows no RayClusters; waiting for its CRDs")
                self._unknown.set()
            except StoreError as error:
                if not self._unknown.is_set():
                    raise
                log.warning("whether KubeRay is installed by now can't be seen: %s; again in %.0f s", error, WITHOUT_KUBERAY_SECONDS)
            await asyncio.sleep(WITHOUT_KUBERAY_SECONDS)

    def sight(self, cluster: MatrixCluster) -> Sight:
        """What there is of a cluster, as far as we have heard; for when it is complete."""
        found = self._ray_clusters.of((cluster.metadata.namespace, ray_cluster_name(cluster)))
        events = self._events.of(found[0]["metadata"]["uid"]) if found else ()
        return sight(cluster, found[0] if found else None, self._pods.of(cluster.metadata.uid), events)

    def versions(self, cluster: MatrixCluster) -> Hashable:
        """Others whenever anything that there is of a cluster has changed."""
        uid = cluster.metadata.uid
        made = self._ray_clusters.versions((cluster.metadata.namespace, ray_cluster_name(cluster)))
        events = tuple(self._events.versions(of) for of, _ in made)
        return made, events, self._pods.versions(uid), self._services.versions(uid)

    def services(self, cluster: MatrixCluster) -> tuple[Object, ...]:
        """Our Services of a cluster."""
        return self._services.of(cluster.metadata.uid)
