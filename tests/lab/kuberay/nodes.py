"""Machines that are not there: Node objects that are kept Ready, so that the scheduler places pods on them."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

from tests.lab.kuberay.client import UNREACHABLE, Client, Object, Refused
from tests.lab.kuberay.status import timestamp

NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_BEAT_SECONDS = 10.0
"""The node controller takes a machine for lost after 40 to 50 s without."""
_CAPACITY = {"cpu": "100000", "memory": "1000Ti", "ephemeral-storage": "1000Ti", "pods": "100000", "nvidia.com/gpu": "1000"}


class Nodes:
    """Those of one stand-in. `silent` ones do nothing any more."""

    def __init__(self, client: Client, names: tuple[str, ...], capacity: dict[str, str] | None = None) -> None:
        """`capacity`: of each, where it is not to be boundless."""
        self.names = names
        self.silent: set[str] = set()
        self._client = client
        self._capacity = _CAPACITY | (capacity or {})

    async def register(self) -> None:
        """Makes them, or takes over those of an earlier stand-in."""
        for name in self.names:
            labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": self._status()}
            await self._ensure(NODES, node)
            await self._ensure(
                LEASES, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": _lease(name)}
            )
            await self._client.merge(f"{NODES}/{name}/status", {"status": self._status()})

    async def keep_alive(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(Refused, *UNREACHABLE):  # the next beat is soon enough
                for name in set(self.names) - self.silent:
                    await self._beat(name)
            await asyncio.sleep(_BEAT_SECONDS)

    async def _beat(self, name: str) -> None:
        """As a kubelet's: a node controller that was cut off from the API server may have taken the machine for lost meanwhile, and takes
        nothing back by itself."""
        await self._client.merge(f"{LEASES}/{name}", {"spec": _lease(name)})
        node = await self._client.get(f"{NODES}/{name}")
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])
        if not ready and name not in self.silent:
            await self._client.merge(f"{NODES}/{name}/status", {"status": self._status()})

    async def silence(self, name: str) -> None:
        """It does not answer any more, and the node controller says so at once instead of 40 s later."""
        self.silent.add(name)
        said = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        await self._client.merge(f"{NODES}/{name}/status", {"status": self._status("Unknown", said)})

    async def revive(self, name: str) -> None:
        self.silent.discard(name)
        await self._client.merge(f"{LEASES}/{name}", {"spec": _lease(name)})
        await self._client.merge(f"{NODES}/{name}/status", {"status": self._status()})

    async def remove(self) -> None:
        """All of them, with their leases; without an API server there is nothing to remove."""
        with contextlib.suppress(*UNREACHABLE):
            for name in self.names:
                await self._client.delete(f"{NODES}/{name}")
                await self._client.delete(f"{LEASES}/{name}")

    async def _ensure(self, path: str, manifest: Object) -> None:
        try:
            await self._client.create(path, manifest)
        except Refused as refused:
            if refused.code != 409:
                raise

    def _status(self, ready: str = "True", said: Object | None = None) -> Object:
        said = said or {"reason": "KubeletReady", "message": "kubelet is posting ready status"}
        now = timestamp()
        condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": now, "lastTransitionTime": now, **said}
        return {"capacity": self._capacity, "allocatable": self._capacity, "conditions": [condition]}


def _lease(name: str) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}
