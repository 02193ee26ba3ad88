"""The directory killed under its watchers, on a real Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc.aio
import psutil
import pytest

from matrix_client.directory_watch import DirectoryWatch
from matrix_proto import directory_pb2 as pb
from matrix_proto.directory_pb2_grpc import DirectoryStub
from matrix_proto.state import ReplicaState, ReplicaView
from matrix_runtime.system.watch_server import SETTLE_SECONDS
from tests.e2e.runtime.ray_cluster import CLIENT_TOKEN, RayCluster, eventually, kill

pytestmark = pytest.mark.timeout(900)  # a start of Ray's parts, on a machine that may be busy

REPLICAS = 2
SLACK = 5.0
"""Of a machine that does other things. A replica that did not report would be waited for for half a minute."""


@pytest.fixture(scope="module")
def replicas(cluster: RayCluster) -> Iterator[dict[str, ReplicaView]]:
    cluster.put_model("w", {"dummy": {}}, num_replicas=REPLICAS)

    def ready() -> dict[str, ReplicaView]:
        found = {replica.id: replica for replica in cluster.replicas("w") if replica.state is ReplicaState.READY}
        return found if len(found) == REPLICAS else {}

    yield eventually(ready, 240, "two replicas are ready")
    cluster.remove("mx-md-w")


def pid_of(cluster: RayCluster, part: str) -> int:
    def look() -> int | None:
        found = cluster.titled(f"mx-system:{part}")
        return found[0].pid if len(found) == 1 else None

    return eventually(look, 30, f"one process of {part}")


@dataclass
class NewInstance:
    """What a fresh stream saw of the directory after its death."""

    first: float
    settled: float
    ids: set[str] = field(default_factory=set)


async def follow_new_instance(address: str, former: str) -> NewInstance:
    """Tries until an instance that is not `former` answers; then until it has settled."""
    while True:
        try:
            async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
                call = DirectoryStub(channel).Watch(  # type: ignore[no-untyped-call]
                    pb.WatchRequest(), metadata=(("authorization", f"Bearer {CLIENT_TOKEN}"),)
                )
                update = await call.read()
                if update is grpc.aio.EOF or update.instance == former:
                    continue
                new = NewInstance(time.monotonic(), 0.0)
                while not update.settled:
                    update = await call.read()
                new.settled, new.ids = time.monotonic(), {replica.id for replica in update.replicas if replica.state == pb.Replica.READY}
                return new
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.02)


def test_a_killed_directory_is_complete_within_three_seconds_of_its_start_and_watchers_go_on_knowing(
    cluster: RayCluster, replicas: dict[str, ReplicaView]
) -> None:
    address, former = f"127.0.0.1:{cluster.directory_port}", cluster.state().instance
    gateway = pid_of(cluster, "Gateway")
    pid = pid_of(cluster, "Directory")

    async def run() -> tuple[float, NewInstance, set[str]]:
        watch = DirectoryWatch(address, lambda: CLIENT_TOKEN)
        watching = asyncio.create_task(watch.run())
        await asyncio.wait_for(watch.synced.wait(), 30)
        missed: set[str] = set()

        async def look() -> None:
            while True:
                missed.update(replicas.keys() - watch.replicas.keys())
                await asyncio.sleep(0.005)

        looking = asyncio.create_task(look())
        kill(pid)
        killed = time.monotonic()
        new = await asyncio.wait_for(follow_new_instance(address, former), 90)
        async with asyncio.timeout(30):
            while not watch.connected:  # noqa: ASYNC110  # of the connection nobody tells
                await asyncio.sleep(0.02)
        looking.cancel()
        watching.cancel()
        return killed, new, missed

    killed, new, missed = asyncio.run(run())
    print(f"answers {new.first - killed:.1f} s after the kill (Serve's restart), complete {new.settled - new.first:.2f} s later")
    assert missed == set(), "a watcher forgot replicas that serve"
    assert replicas.keys() <= new.ids
    assert new.settled - new.first < SETTLE_SECONDS + SLACK
    now = {replica.id: replica.pid for replica in cluster.replicas("w")}
    assert now == {id_: replica.pid for id_, replica in replicas.items()}, "the replicas were left alone"
    assert pid_of(cluster, "Gateway") == gateway and psutil.pid_exists(gateway)
