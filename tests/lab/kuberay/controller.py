"""A stand-in for KubeRay's controller of RayClusters. Acts as docs/kuberay.md says, the misleading parts included."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import defaultdict
from datetime import UTC, datetime

from tests.lab.kuberay import autoscaler, made
from tests.lab.kuberay.cache import Cache
from tests.lab.kuberay.client import Client, Key, Object, Refused, in_namespace, key_of
from tests.lab.kuberay.faults import Faults
from tests.lab.kuberay.refusals import refusal
from tests.lab.kuberay.status import SUSPENDED, SUSPENDING, desired, is_news, new_status, suspension
from tests.lab.kuberay.work import Work

log = logging.getLogger(__name__)

MANAGER = "kuberay-operator"
RAY = "/apis/ray.io/v1"
_EVENTS = "/apis/events.k8s.io/v1"
_IDLE_SECONDS = 0.05
"""Between looks whether it is still down or blind."""
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.1, 1.0


class Failure(Exception):
    """Pods could not be made; the text is the API server's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Controller:
    """All RayClusters of an API server. `faults` may be changed at any time."""

    def __init__(self, client: Client, pods: Cache, faults: Faults) -> None:
        """`pods`: of all clusters, grouped by `cluster_of`."""
        self.faults = faults
        self.clusters = Cache(client, f"{RAY}/rayclusters")
        self._client = client
        self._pods = pods
        self._work = Work(self._look)
        self._with_service: set[str] = set()
        self._with_rights: set[str] = set()
        self._refused: dict[str, int] = {}
        """The generation at which a cluster was refused, by its uid."""
        self._ending: defaultdict[tuple[Key, str], set[Key]] = defaultdict(set)
        """Pods that it has deleted, by cluster and group: until they are gone it leaves their group alone."""
        self._tries: defaultdict[Key, int] = defaultdict(int)
        self._known: dict[Key, list[Object]] = {}
        self._changed: dict[Key, float] = {}
        self.clusters.changed.append(lambda cluster: self._work.add(key_of(cluster)))
        pods.changed.append(self._pod_changed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.clusters.follower.run())
            await self.clusters.follower.synced.wait()
            await self._pods.follower.synced.wait()
            group.create_task(self._work.run())

    def look_again(self) -> None:
        """At all clusters: a fault was set or taken away."""
        for cluster in self.clusters.all():
            self._work.add(key_of(cluster))

    def _pod_changed(self, pod: Object) -> None:
        cluster = cluster_of(pod)
        if cluster[1]:
            self._work.add(cluster)

    async def _look(self, key: Key) -> float | None:
        cluster = self.clusters.get(key)
        if cluster is None or "deletionTimestamp" in cluster["metadata"]:
            return None
        if self.faults.down:
            return _IDLE_SECONDS
        refused = refusal(cluster)
        if refused:
            await self._tell_once(cluster, *refused)
            return None
        failure = await self._try(key, cluster)
        again = await self._write(key, cluster, failure)
        if failure:
            self._tries[key] += 1
            return min(_FIRST_RETRY_SECONDS * 2.0 ** self._tries[key], _LONGEST_RETRY_SECONDS)
        self._tries.pop(key, None)
        return _IDLE_SECONDS if self.faults.blind else again

    def _seen(self, key: Key) -> list[Object]:
        """Its pods, as far as they are noticed."""
        if not self.faults.blind or key not in self._known:
            self._known[key] = self._pods.grouped(key)
        return self._known[key]

    # --- pods ---

    async def _try(self, key: Key, cluster: Object) -> Failure | None:
        try:
            await self._act(key, cluster)
        except Failure as failure:
            await self._tell(cluster, f"FailedTo{failure.reason.removeprefix('Failed')}", str(failure))
            return failure
        return None

    async def _act(self, key: Key, cluster: Object) -> None:
        await self._ensure_companions(cluster)
        was, pods = suspension(cluster), self._seen(key)
        if was == SUSPENDING or (self.faults.old and cluster["spec"].get("suspend")):
            for pod in pods:
                await self._delete(key, "", pod)
        elif was != SUSPENDED and not cluster["spec"].get("suspend"):
            await self._act_on_head(key, cluster, [pod for pod in pods if _group(pod) == made.HEAD_GROUP])
            for group in cluster["spec"].get("workerGroupSpecs", []):
                await self._act_on_group(key, cluster, group, [pod for pod in pods if _group(pod) == group["groupName"]])

    async def _ensure_companions(self, cluster: Object) -> None:
        """What pods need beside them, once: the head's Service, and the autoscaler's rights."""
        uid = cluster["metadata"]["uid"]
        if uid not in self._with_service:
            await self._create("services", made.head_service(cluster), "FailedCreateService", there_is_fine=True)
            self._with_service.add(uid)
        if autoscaler.wanted(cluster) and uid not in self._with_rights:
            for group, kind, manifest in made.rights(cluster):
                await self._create(kind, manifest, "FailedCreateRights", group, there_is_fine=True)
            self._with_rights.add(uid)

    async def _act_on_head(self, key: Key, cluster: Object, pods: list[Object]) -> None:
        if self._is_busy(key, made.HEAD_GROUP):
            return
        if not pods:
            await self._create("pods", made.head_pod(cluster), "FailedCreateHeadPod")
        elif _is_over(pods[0]):
            await self._delete(key, made.HEAD_GROUP, pods[0])

    async def _act_on_group(self, key: Key, cluster: Object, group: Object, pods: list[Object]) -> None:
        name = group["groupName"]
        if self._is_busy(key, name):
            return
        over = [pod for pod in pods if _is_over(pod)]
        named = set(group.get("scaleStrategy", {}).get("workersToDelete") or ())
        for pod in over or [pod for pod in pods if pod["metadata"]["name"] in named]:
            await self._delete(key, name, pod)
        left = [pod for pod in pods if pod["metadata"]["name"] not in named]
        if over:
            return
        for pod in left[: max(len(left) - desired(group), 0)] if not cluster["spec"].get("enableInTreeAutoscaling") else []:
            await self._delete(key, name, pod)  # whichever comes first, and be it the only one that works
        taken = {pod["metadata"]["labels"].get(made.INDEX) for pod in left}
        free = (index for index in range(len(left) + desired(group)) if str(index) not in taken)
        for _ in range(desired(group) - len(left)):
            await self._create("pods", made.worker_pod(cluster, group, next(free)), "FailedCreateWorkerPod")

    def _is_busy(self, key: Key, group: str) -> bool:
        ending = self._ending[key, group]
        ending &= {key_of(pod) for pod in self._pods.grouped(key)}
        return bool(ending)

    async def _create(self, kind: str, manifest: Object, reason: str, group: str = "/api/v1", *, there_is_fine: bool = False) -> None:
        try:
            found = await self._client.create(in_namespace(group, kind, (manifest["metadata"]["namespace"], "")), manifest)
        except Refused as refused:
            if there_is_fine and refused.code == 409:
                return
            raise Failure(reason, str(refused)) from refused
        if kind == "pods":
            self._pods.present(found)
            self._seen(cluster_of(found))

    async def _delete(self, key: Key, group: str, pod: Object) -> None:
        """An ending pod too: it is as if it were not seen that it ends."""
        if "deletionTimestamp" not in pod["metadata"]:
            await self._client.delete(in_namespace("/api/v1", "pods", key_of(pod)))
        self._ending[key, group].add(key_of(pod))

    # --- status and events ---

    async def _write(self, key: Key, cluster: Object, failure: Failure | None) -> float | None:
        """Seconds until it may be written, if not yet."""
        status = new_status(cluster, self._seen(key), (failure.reason, f"{failure.reason}\n{failure}") if failure else None)
        status |= self.faults.lies
        if self.faults.old:
            status = {name: value for name, value in status.items() if name not in ("conditions", "observedGeneration")}
        if self.faults.status_frozen or not is_news(cluster.get("status", {}), status):
            self._changed.pop(key, None)
            return None
        due = self._changed.setdefault(key, time.monotonic()) + self.faults.status_delay
        if due > time.monotonic():
            return due - time.monotonic()
        del self._changed[key]
        path = in_namespace(RAY, "rayclusters", key) + "/status"
        try:
            uid = {"op": "test", "path": "/metadata/uid", "value": cluster["metadata"]["uid"]}
            self.clusters.present(await self._client.patch(path, [uid, {"op": "add", "path": "/status", "value": status}]))
        except Refused as refused:
            if refused.code not in (404, 422):  # it is gone, or another of its name is there
                raise
        return None

    async def _tell_once(self, cluster: Object, reason: str, note: str) -> None:
        metadata = cluster["metadata"]
        if self._refused.get(metadata["uid"]) != metadata["generation"]:
            self._refused[metadata["uid"]] = metadata["generation"]
            await self._tell(cluster, reason, note)

    async def _tell(self, cluster: Object, reason: str, note: str) -> None:
        """A Warning. KubeRay's Normal events, such as CreatedHeadPod, are left out: nobody here needs what they cost."""
        namespace, name = key_of(cluster)
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Warning",
            "reason": reason,
            "note": note[:1024],
            "action": "Reconcile",
            "reportingController": "raycluster-controller",
            "reportingInstance": "standin",
            "regarding": {
                "apiVersion": "ray.io/v1",
                "kind": "RayCluster",
                "namespace": namespace,
                "name": name,
                "uid": cluster["metadata"]["uid"],
            },
        }
        await self._client.create(in_namespace(_EVENTS, "events", (namespace, "")), event)


def cluster_of(pod: Object) -> Key:
    """Key of the RayCluster, with an empty name for a pod of none."""
    labels = pod["metadata"].get("labels") or {}
    return pod["metadata"]["namespace"], labels.get(made.CLUSTER, "")


def _group(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get(made.GROUP))


def _is_over(pod: Object) -> bool:
    """KubeRay deletes it and makes another."""
    phase, statuses = pod["status"].get("phase"), pod["status"].get("containerStatuses", [])
    ended = any("terminated" in entry["state"] and entry["name"] == pod["spec"]["containers"][0]["name"] for entry in statuses)
    return phase in ("Failed", "Succeeded") or (phase == "Running" and ended and pod["spec"]["restartPolicy"] == "Never")
