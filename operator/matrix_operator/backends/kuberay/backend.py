"""The KubeRay backend: a Ray cluster as a RayCluster, which KubeRay makes pods of. The pure half is in the modules around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from matrix_crds.cluster import Allocation, DeletionPolicy, MatrixCluster
from matrix_crds.on_kubernetes import UID_LABEL
from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.kuberay import companions
from matrix_operator.backends.kuberay.complaints import Complaints
from matrix_operator.backends.kuberay.decide import Create, Replace, Wait, decide, names_victims
from matrix_operator.backends.kuberay.layout import layout
from matrix_operator.backends.kuberay.names import ASKED_ANNOTATION, ray_cluster_name
from matrix_operator.backends.kuberay.observe import head_incarnation, is_protected, observation, wants_asking
from matrix_operator.backends.kuberay.paths import collection, one
from matrix_operator.backends.kuberay.reach import Reach
from matrix_operator.backends.kuberay.reading import at, name_of
from matrix_operator.backends.kuberay.removal import GRACE_SECONDS, still_owned, teardown
from matrix_operator.backends.kuberay.render import services
from matrix_operator.backends.kuberay.settings import KubeRaySettings
from matrix_operator.backends.kuberay.sight import Sight, listed, sight
from matrix_operator.backends.kuberay.slim import writable
from matrix_operator.backends.kuberay.template import template_hash
from matrix_operator.backends.kuberay.tokens import Tokens
from matrix_operator.backends.kuberay.watched import Watched
from matrix_operator.backends.port import BackendRefusal, Observation, RayAddress, Removal, RemovalState, RuntimeLayout
from matrix_operator.errors import ForeignFault
from matrix_operator.looks import Look, Present, Unknown
from matrix_operator.ray_rest import RayRest
from matrix_operator.tasks import first_to_end
from matrix_store.errors import Conflict, Forbidden, NotFound, Rejected, StoreError
from matrix_store.kubernetes.api import Api

NO_KUBERAY = (
    "KubeRay is not installed: the API server knows no RayClusters; install its operator with its CRDs "
    "(https://docs.ray.io/en/latest/cluster/kubernetes), the cluster then starts by itself"
)
FIRST_SECONDS = 10.0
"""How long a look waits for the first lists: at the start objects are heard of before their pods."""
HEARD_AFTER = timedelta(seconds=5)
"""So soon what was created is heard of, and is not created once more."""
NOT_YET = "the API server has not told yet what there is"

_UNKNOWN_FIELD = re.compile(r'unknown field "(spec\.[^"]+)"')
"""How an API server refuses what its CRD does not have (fieldValidation=Strict)."""


def _now() -> datetime:
    return datetime.now(UTC)


def _refused(error: Rejected) -> BackendRefusal:
    """Whose fault it is. What a pod template may have is not KubeRay's; the rest of a RayCluster is as we write it."""
    unknown = _UNKNOWN_FIELD.search(str(error))
    if unknown and ".template." not in unknown[1]:
        message = f"KubeRay's CRDs are too old: they do not know {unknown[1]} of a RayCluster; update KubeRay with its CRDs"
        return BackendRefusal(ClusterReason.KUBERAY_SILENT, message)
    return BackendRefusal(ClusterReason.INVALID_SPEC, f"{error}; change the manifest")


class KubeRayBackend:
    """A ClusterBackend. `run` must run beside it: it follows the API server, and everything but it looks into memory."""

    def __init__(
        self,
        api: Api,
        settings: KubeRaySettings,
        reach: Reach,
        namespaces: Sequence[str] = (),
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """`namespaces`: only these are followed; none for all of them."""
        self._api = api
        self._settings = settings
        self._reach = reach
        self._clock = clock
        self._tokens = Tokens(api)
        self._complaints = Complaints(api)
        self._made: dict[str, datetime] = {}
        """When the RayCluster was created, by the MatrixCluster's uid, until it is heard of."""
        self._watched = {namespace: Watched(api, namespace) for namespace in namespaces or (None,)}

    async def run(self) -> None:
        """Until cancelled. Raises StoreError if what exists can't be listed at first."""
        await first_to_end(*(watched.run() for watched in self._watched.values()))

    @property
    def complete(self) -> bool:
        """Everything there was at the start is known."""
        return all(watched.complete for watched in self._watched.values())

    @property
    def age(self) -> float:
        """Seconds since the watch that is silent longest was heard: at rest it is about a minute at most."""
        return max(watched.age for watched in self._watched.values())

    # --- look ---

    async def observe(self, cluster: MatrixCluster) -> Look[Observation]:
        watched = self._of(cluster)
        if not await watched.told(FIRST_SECONDS):
            return Unknown(NOT_YET)
        seen = watched.sight(cluster)
        if watched.kuberay_missing and seen.ray_cluster is not None:
            return Unknown(f"whether its RayCluster is still there can't be seen: {NO_KUBERAY}")
        try:
            seen = await self._in_doubt_asked(cluster, seen)
        except StoreError as error:
            return Unknown(str(error))
        now = self._clock()
        found = observation(cluster, replace(seen, complaints=await self._complaints.of(cluster, seen.pods, now)), now)
        if isinstance(found, Present):
            for node in (found.state.head, *found.state.workers):
                if node.reason is ClusterReason.SECRET_MISSING:
                    self._tokens.look_for(cluster, node.message)
            try:
                await self._tokens.read(cluster, head_incarnation(seen))
            except Forbidden as error:
                return Unknown(f"the cluster's tokens can't be read: {error}")
        return found

    async def pulse(self, cluster: MatrixCluster) -> Hashable:
        watched = self._of(cluster)
        return watched.complete, watched.kuberay_missing, watched.versions(cluster)

    def allocation_name(self, cluster: MatrixCluster) -> str:
        return ray_cluster_name(cluster)

    def template_hash(self, cluster: MatrixCluster) -> str:
        return template_hash(cluster.spec)

    async def address(self, cluster: MatrixCluster) -> RayAddress | None:
        tokens = self._tokens.known(cluster)
        return self._reach.address(cluster, tokens) if tokens else None

    async def layout(self, cluster: MatrixCluster) -> RuntimeLayout | None:
        return layout(cluster)

    # --- act ---

    async def ensure(self, cluster: MatrixCluster, desired: Allocation) -> None:
        watched = self._of(cluster)
        if watched.kuberay_missing:
            raise BackendRefusal(ClusterReason.KUBERAY_SILENT, NO_KUBERAY)
        if not watched.complete:
            raise ForeignFault(NOT_YET)
        try:
            await self._ensure(cluster, desired, watched)
        except Forbidden as error:
            raise BackendRefusal(ClusterReason.BACKEND_UNREACHABLE, str(error)) from error
        except Rejected as error:
            raise _refused(error) from error
        except (Conflict, NotFound):
            return  # somebody has changed it since we heard of it last: hearing of that brings the next look
        except StoreError as error:
            raise ForeignFault(str(error)) from error

    async def _ensure(self, cluster: MatrixCluster, desired: Allocation, watched: Watched) -> None:
        seen = watched.sight(cluster)
        step = decide(cluster, desired, seen, self._settings)
        if isinstance(step, Replace):  # the whole of it is sent back: nothing may be missing
            seen = await self._read_again(cluster, seen)
            step = decide(cluster, desired, seen, self._settings)
        if isinstance(step, Replace) and names_victims(step, seen):
            step = decide(cluster, desired, seen, self._settings, await self._idle(cluster, seen))
        if isinstance(step, Wait) or (isinstance(step, Create) and self._is_just_made(cluster)):
            return
        await self._ensure_companions(cluster, watched)
        self._made.pop(cluster.metadata.uid, None)
        if isinstance(step, Create):
            await companions.create(self._api, cluster, step.ray_cluster)
            self._made[cluster.metadata.uid] = self._clock()
        path = one("RayCluster", cluster.metadata.namespace, ray_cluster_name(cluster))
        if isinstance(step, Replace):
            await self._api.replace(path, writable(step.ray_cluster))
        if step is None and wants_asking(seen, self._clock()):
            await self._api.merge(path, {"metadata": {"annotations": {ASKED_ANNOTATION: self._clock().isoformat()}}})

    def _is_just_made(self, cluster: MatrixCluster) -> bool:
        made = self._made.get(cluster.metadata.uid)
        return made is not None and self._clock() - made < HEARD_AFTER

    async def _ensure_companions(self, cluster: MatrixCluster, watched: Watched) -> None:
        await self._tokens.ensure(cluster)
        there = watched.services(cluster)
        for service in services(cluster):
            if service["metadata"]["name"] not in map(name_of, there):
                await companions.create(self._api, cluster, service)
        owned = cluster.spec.deletion_policy is DeletionPolicy.DELETE
        if any(bool(still_owned(cluster, [service])) != owned for service in there):
            await companions.align_owners(self._api, cluster, owned=owned)

    async def _idle(self, cluster: MatrixCluster, seen: Sight) -> frozenset[str]:
        """The pods on which nothing runs, as Ray says; none when it can't be asked."""
        address = await self.address(cluster)
        if address is None:
            return frozenset()
        look = await RayRest(self._reach.http, address.dashboard_url, address.ray_token).idle_addresses()
        idle = look.state if isinstance(look, Present) else frozenset()
        return frozenset(name_of(pod) for pod in seen.pods if at(pod, "status", "podIP") in idle)

    # --- end ---

    async def remove(self, cluster: MatrixCluster) -> Removal:
        watched = self._of(cluster)
        if not watched.complete:
            return Removal(RemovalState.UNKNOWN, NOT_YET)
        try:
            return await self._remove(cluster, watched)
        except StoreError as error:
            return Removal(RemovalState.UNKNOWN, str(error))

    async def _remove(self, cluster: MatrixCluster, watched: Watched) -> Removal:
        step = teardown(cluster, watched.sight(cluster), self._clock())
        if step.removal.state is RemovalState.GONE:  # what was made a moment ago may not have been heard of: nothing is gone unasked
            step = teardown(cluster, await self._asked(cluster), self._clock())
        if step.delete is not None:
            await companions.delete(self._api, cluster, step.delete, "RayCluster")
        for pod in step.hasten:
            await companions.delete(self._api, cluster, pod, "Pod", GRACE_SECONDS)
        if step.removal.state is RemovalState.GONE and cluster.deleting:
            await companions.delete_all(self._api, cluster)
            self._tokens.forget(cluster)
            self._made.pop(cluster.metadata.uid, None)
        return step.removal

    async def let_go(self, cluster: MatrixCluster) -> Removal:
        try:
            left = await companions.align_owners(self._api, cluster, owned=False)
        except StoreError as error:
            return Removal(RemovalState.UNKNOWN, str(error))
        if left:
            return Removal(RemovalState.GOING, f"{listed(left)} would be deleted with the MatrixCluster; taking that from them")
        self._tokens.forget(cluster)
        self._complaints.forget(cluster)
        return Removal(RemovalState.GONE)

    async def _read_again(self, cluster: MatrixCluster, seen: Sight) -> Sight:
        """With the RayCluster as the API server has it now: a watch from before a change of the CRD leaves out what was not known then.
        Raises StoreError."""
        return replace(seen, ray_cluster=await companions.find(self._api, cluster, "RayCluster", ray_cluster_name(cluster)))

    async def _in_doubt_asked(self, cluster: MatrixCluster, seen: Sight) -> Sight:
        """What the watches may not have told: a field that the CRD has got since, and what another operator has made. Raises StoreError."""
        if seen.ray_cluster is not None:
            return seen if is_protected(seen.ray_cluster) else await self._read_again(cluster, seen)
        if cluster.status.allocation is None or self._is_just_made(cluster):
            return seen
        again = await self._read_again(cluster, seen)
        return await self._asked(cluster) if again.ray_cluster is not None else seen

    async def _asked(self, cluster: MatrixCluster) -> Sight:
        """What there is, as the API server answers now. Raises StoreError."""
        namespace, uid = cluster.metadata.namespace, cluster.metadata.uid
        ray_cluster = await companions.find(self._api, cluster, "RayCluster", ray_cluster_name(cluster))
        pods, _ = await self._api.list_all(collection("Pod", namespace), labelSelector=f"{UID_LABEL}={uid}")
        return sight(cluster, ray_cluster, pods)

    def _of(self, cluster: MatrixCluster) -> Watched:
        return self._watched.get(cluster.metadata.namespace) or self._watched[None]
