"""The stand-in for KubeRay and its machines: in a task, or in a thread for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from tests.lab.kuberay.cache import Cache
from tests.lab.kuberay.client import Client, Key, Object, in_namespace
from tests.lab.kuberay.controller import MANAGER, RAY, Controller, cluster_of
from tests.lab.kuberay.faults import Ailments, Ended, Faults, Pace
from tests.lab.kuberay.kubelet import Kubelet
from tests.lab.kuberay.nodes import Nodes
from tests.lab.kuberay.obstacles import Obstacles

T = TypeVar("T")
_SECONDS = 150.0

NODES = ("lab-1", "lab-2", "lab-3")


class StandIn:
    """KubeRay, and the machines `nodes`. What may be set at any time is in `faults`, `pace` and `ailments`; then call `look_again`."""

    def __init__(self, kubeconfig: Path, nodes: tuple[str, ...] = NODES, capacity: Mapping[str, str] | None = None) -> None:
        """Without `nodes` it is KubeRay alone, for where real machines are. `capacity`: of each, where it is not to be boundless."""
        self.faults = Faults()
        self.pace = Pace()
        self.ailments = Ailments()
        self._client = Client(kubeconfig, MANAGER)
        self._machines = Client(kubeconfig, "kubelet")
        self.pods = Cache(self._client, "/api/v1/pods", cluster_of)
        self.controller = Controller(self._client, self.pods, self.faults)
        self._obstacles = Obstacles(self._machines)
        self.nodes = Nodes(self._machines, nodes, dict(capacity or {}))
        self.kubelet = Kubelet(self._machines, self.nodes, self.pods, self._obstacles, self.pace, self.ailments)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StandIn]:
        """Its Node objects are removed at the end; pods stay as they are. Raises what has ended it before."""
        try:
            await self.nodes.register()
            task = asyncio.create_task(self._run())
            try:
                await self._while(task, self.controller.clusters.follower.synced.wait())
                yield self
            finally:
                task.cancel()
                await asyncio.wait([task])
            if not task.cancelled():
                await task
        finally:
            await self.nodes.remove()
            await self._client.close()
            await self._machines.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.follower.run())
            group.create_task(self.controller.run())
            if self.nodes.names:
                group.create_task(self._obstacles.secrets.follower.run())
                group.create_task(self.kubelet.run())
                group.create_task(self.nodes.keep_alive())

    async def _while(self, task: asyncio.Task[None], wanted: Awaitable[object]) -> None:
        """Waits for something that comes only as long as the task runs. Raises what has ended it."""
        waiting = asyncio.ensure_future(wanted)
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            await task

    def look_again(self) -> None:
        """At everything: something was set."""
        self.controller.look_again()
        self.kubelet.look_again()

    def pods_of(self, cluster: Key, node_type: str = "") -> list[Object]:
        """Those of a RayCluster, of one type (head, worker) or all."""
        found = self.pods.grouped(cluster)
        return [pod for pod in found if not node_type or pod["metadata"]["labels"]["ray.io/node-type"] == node_type]

    async def end_container(self, pod: Key, ended: Ended) -> None:
        """See Kubelet.end_container."""
        await self.kubelet.end_container(await self._pod(pod), ended)

    async def evict(self, pod: Key, message: str = "The node was low on resource: memory. ") -> None:
        """See Kubelet.evict."""
        await self.kubelet.evict(await self._pod(pod), message)

    async def autoscale(self, cluster: Key, group: int, replicas: int, victims: list[str]) -> None:
        """What Ray's autoscaler does from inside of the head."""
        spec = f"/spec/workerGroupSpecs/{group}"
        operations = [{"op": "replace", "path": f"{spec}/replicas", "value": replicas}]
        operations.append({"op": "add", "path": f"{spec}/scaleStrategy", "value": {"workersToDelete": victims}})
        await self._client.patch(in_namespace(RAY, "rayclusters", cluster), operations, manager="python-requests")

    async def _pod(self, key: Key) -> Object:
        return await self._client.get(in_namespace("/api/v1", "pods", key))


class InThread:
    """A stand-in that runs in a thread of its own."""

    def __init__(self, standin: StandIn, loop: asyncio.AbstractEventLoop) -> None:
        self.standin = standin
        self.faults, self.pace, self.ailments = standin.faults, standin.pace, standin.ailments
        self._loop = loop

    def do(self, action: Callable[[StandIn], Awaitable[T]], timeout: float = 30.0) -> T:
        """Has it done over there."""

        async def done() -> T:
            return await action(self.standin)

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(timeout)

    def set(self, knobs: object, **values: object) -> None:
        """Sets fields of the stand-in's faults, pace or ailments, and has everything looked at again."""
        for name, value in values.items():
            setattr(knobs, name, value)
        self._loop.call_soon_threadsafe(self.standin.look_again)


@contextmanager
def in_thread(standin: StandIn) -> Iterator[InThread]:
    """Raises what keeps it from starting."""
    loop = asyncio.new_event_loop()
    started: Future[InThread] = Future()
    ending = asyncio.Event()

    async def live() -> None:
        try:
            async with standin.running():
                started.set_result(InThread(standin, loop))
                await ending.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()), daemon=True)
    thread.start()
    try:
        yield started.result(_SECONDS)
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(_SECONDS)
        loop.close()
