"""A stand-in for the kubelets of machines that are not there: writes what they would say of the pods that were placed on them."""

from __future__ import annotations

import itertools
import time
from typing import Any

from tests.lab.kuberay import made, pod_status
from tests.lab.kuberay.cache import Cache
from tests.lab.kuberay.client import Client, Key, Object, Refused, in_namespace, key_of
from tests.lab.kuberay.controller import cluster_of
from tests.lab.kuberay.faults import Ailments, Ended, Pace
from tests.lab.kuberay.nodes import Nodes
from tests.lab.kuberay.obstacles import Obstacles
from tests.lab.kuberay.work import Work

_AGAIN_SECONDS = 0.2
_UNTOLD_SECONDS = 1.0
"""A worker that waits for its head says so only after this: at full pace it saves a call."""


class Kubelet:
    """Of all pods on `nodes`. `pace` and `ailments` may be changed at any time."""

    def __init__(self, client: Client, nodes: Nodes, pods: Cache, obstacles: Obstacles, pace: Pace, ailments: Ailments) -> None:
        self.pace = pace
        self.ailments = ailments
        self._client = client
        self._nodes = nodes
        self._pods = pods
        self._obstacles = obstacles
        self._work = Work(self._look)
        self._stages: dict[str, tuple[str, float]] = {}
        """Of each pod by its uid: what it is in, and since when."""
        self._complained: set[tuple[str, str]] = set()
        self._addresses: dict[str, str] = {}
        self._free = (f"10.{a}.{b}.{c}" for a, b, c in itertools.product(range(64, 128), range(256), range(1, 255)))
        pods.changed.append(self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self._pods.follower.synced.wait()
        await self._obstacles.secrets.follower.synced.wait()
        await self._work.run()

    def look_again(self) -> None:
        """At all pods."""
        for pod in self._pods.all():
            self._changed(pod)

    async def end_container(self, pod: Object, ended: Ended) -> None:
        """Ray's container of a running pod ends; it is started again in place, unless its restartPolicy says Never."""
        await self._say(pod, pod_status.hurt(pod, pod["spec"]["containers"][0]["name"], pod_status.terminated(ended)))

    async def evict(self, pod: Object, message: str) -> None:
        """As one does that is short of memory or disk."""
        await self._say(pod, pod_status.evicted(pod, message))

    async def silence(self, node: str) -> None:
        """A machine does not answer any more; what the node controller makes of it happens at once: its pods are not Ready, though
        their last word was that they were."""
        await self._nodes.silence(node)
        for pod in self._on(node):
            await self._say(pod, pod_status.lost(pod))

    async def revive(self, node: str) -> None:
        """It answers again; its pods have run on."""
        await self._nodes.revive(node)
        for pod in self._on(node):
            self._changed(pod)

    def _on(self, node: str) -> list[Object]:
        return [pod for pod in self._pods.all() if pod["spec"].get("nodeName") == node]

    def _changed(self, pod: Object) -> None:
        if pod["spec"].get("nodeName") in self._nodes.names:
            self._work.add(key_of(pod))

    async def _look(self, key: Key) -> float | None:
        pod = self._pods.get(key)
        if pod is None or pod["spec"]["nodeName"] in self._nodes.silent:
            return None
        if "deletionTimestamp" in pod["metadata"]:
            return await self._end(pod)
        if pod["status"].get("phase") in ("Failed", "Succeeded"):
            return None
        if pod["status"]["phase"] == "Pending":
            return await self._start(pod)
        return await self._keep(pod)

    # --- what happens to a pod ---

    async def _end(self, pod: Object) -> float | None:
        wait = self._left(pod, "ending", min(self.pace.ending, pod["metadata"].get("deletionGracePeriodSeconds", 0)))
        if wait:
            return wait
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        gone = await self._client.delete(in_namespace("/api/v1", "pods", key_of(pod)), options)
        if gone and not gone["metadata"].get("finalizers"):
            self._pods.absent(pod)
        self._stages.pop(pod["metadata"]["uid"], None)
        return None

    async def _start(self, pod: Object) -> float | None:
        unmounted = await self._obstacles.to_volumes(pod)
        if unmounted:
            await self._complain(pod, unmounted)
            return _AGAIN_SECONDS
        state = await self._obstacles.before(pod, self.ailments)
        if state:
            await self._say(pod, pod_status.being_made(pod, "", state, init=state if pod["spec"].get("initContainers") else None))
            return _AGAIN_SECONDS
        if not self._head_runs(pod):
            if not self._left(pod, "waiting", _UNTOLD_SECONDS):
                await self._say(pod, pod_status.being_made(pod, "", pod_status.waiting("PodInitializing"), init=pod_status.running()))
            return _AGAIN_SECONDS
        wait = self._left(pod, "creating", self.pace.creating)
        if wait:
            await self._say(pod, pod_status.being_made(pod, "", pod_status.waiting("ContainerCreating")))
            return wait
        await self._say(pod, pod_status.up(pod, self._address(pod), ready=not self.pace.readying and not self._crash(pod)))
        return None

    async def _complain(self, pod: Object, message: str) -> None:
        """Its status only says that it is being made; what holds it up is in an event, which is posted once."""
        await self._say(pod, pod_status.being_made(pod, "", pod_status.waiting("ContainerCreating"), sandbox=False))
        if (pod["metadata"]["uid"], message) not in self._complained:
            self._complained.add((pod["metadata"]["uid"], message))
            path = in_namespace("/api/v1", "events", (pod["metadata"]["namespace"], ""))
            await self._client.create(path, pod_status.complaint(pod, message))

    async def _keep(self, pod: Object) -> float | None:
        """Of a pod whose containers were started."""
        crash = self._crash(pod)
        ray = pod["spec"]["containers"][0]["name"]
        if crash:
            if "waiting" not in pod_status.container(pod, ray)["state"]:
                await self._say(pod, pod_status.crash_loop(pod, ray, crash))
            return _AGAIN_SECONDS
        states = [entry["state"] for entry in pod["status"]["containerStatuses"]]
        if any("running" not in state for state in states):
            return await self._restart(pod)
        wait = self._left(pod, "readying", self.pace.readying)
        if not wait and not _is_ready(pod):
            await self._say(pod, pod_status.up(pod, self._address(pod), ready=True))
        return wait or None

    async def _restart(self, pod: Object) -> float | None:
        if pod["spec"]["restartPolicy"] == "Never":
            if all("terminated" in entry["state"] for entry in pod["status"]["containerStatuses"]):
                await self._say(pod, {"phase": "Failed"})
            return None
        wait = self._left(pod, "restarting", self.pace.restarting)
        if wait:
            return wait
        await self._say(pod, pod_status.up(pod, self._address(pod), ready=not self.pace.readying, restarted=True))
        return None

    def _head_runs(self, pod: Object) -> bool:
        """What a worker's init container waits for."""
        if pod["metadata"].get("labels", {}).get(made.NODE_TYPE) != "worker":
            return True
        around = self._pods.grouped(cluster_of(pod))
        return any(other["metadata"]["labels"].get(made.NODE_TYPE) == "head" and other["status"]["phase"] == "Running" for other in around)

    def _crash(self, pod: Object) -> Ended | None:
        return self.ailments.crashing_images.get(pod["spec"]["containers"][0]["image"])

    def _left(self, pod: Object, stage: str, seconds: float) -> float:
        """What is left of the time that a pod spends in a stage; the first call for it begins it."""
        uid, now = pod["metadata"]["uid"], time.monotonic()
        known, since = self._stages.get(uid, ("", now))
        if known != stage:
            self._stages[uid] = (stage, now)
            return seconds
        return max(since + seconds - now, 0.0)

    def _address(self, pod: Object) -> str:
        known = pod["status"].get("podIP") or self._addresses.get(pod["metadata"]["uid"])
        return str(known) if known else self._addresses.setdefault(pod["metadata"]["uid"], next(self._free))

    async def _say(self, pod: Object, status: Object) -> None:
        """Unless it is said already, or the pod is gone."""
        if _holds(pod["status"], status):
            return
        try:
            self._pods.present(await self._client.merge(in_namespace("/api/v1", "pods", key_of(pod)) + "/status", {"status": status}))
        except Refused as refused:
            if refused.code != 404:
                raise


def _is_ready(pod: Object) -> bool:
    return all(entry["ready"] for entry in pod["status"]["containerStatuses"]) and any(
        entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"]["conditions"]
    )


def _holds(known: Any, said: Any) -> bool:
    """Whether all that is said is there already; the API server adds fields of its own."""
    if isinstance(said, dict):
        return isinstance(known, dict) and all(_holds(known.get(name), value) for name, value in said.items() if value != {})
    if isinstance(said, list):
        return isinstance(known, list) and len(known) == len(said) and all(map(_holds, known, said))
    return bool(known == said)
