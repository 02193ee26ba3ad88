"""A stand-in for a cluster's directory: real gRPC on a port of its own, told by hand what there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from matrix_proto import directory_pb2 as pb
from matrix_proto.directory_pb2_grpc import DirectoryServicer, add_DirectoryServicer_to_server

TOKEN = "the-token"
TICK_SECONDS = 0.2


def replica(id_: str, address: str = "127.0.0.1:1", **more: Any) -> pb.Replica:
    """A ready replica of the model `chat`, but for what is said otherwise."""
    given: dict[str, Any] = {"application": "mx-md-chat", "model": "chat", "state": pb.Replica.READY, "grpc_address": address} | more
    return pb.Replica(id=id_, **given)


class FakeDirectory(DirectoryServicer):
    """`async with FakeDirectory() as directory:`, then put and remove replicas. Keeps its port over stop and start."""

    def __init__(self) -> None:
        self.address = "127.0.0.1:0"
        self.replicas: dict[str, pb.Replica] = {}
        self.settled = True
        self.token = TOKEN
        self.frozen = False
        """Says nothing more, and ends nothing."""
        self.watchers = 0
        """Streams that were begun, ever."""
        self._queues: set[asyncio.Queue[pb.Update]] = set()
        self._server: grpc.aio.Server | None = None

    def put(self, replica: pb.Replica) -> None:
        self.replicas[replica.id] = replica
        self._tell(pb.Update(replicas=[replica], settled=self.settled))

    def remove(self, id_: str) -> None:
        del self.replicas[id_]
        self._tell(pb.Update(removed=[id_], settled=self.settled))

    def settle(self) -> None:
        self.settled = True
        self._tell(pb.Update(settled=True))

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.Update]:
        if ("authorization", f"Bearer {self.token}") not in [tuple(pair) for pair in context.invocation_metadata()]:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "ask with the client token of this cluster")
        queue: asyncio.Queue[pb.Update] = asyncio.Queue()
        self._queues.add(queue)
        self.watchers += 1
        try:
            if not self.frozen:
                yield pb.Update(full=True, settled=self.settled, replicas=list(self.replicas.values()))
            while True:
                try:
                    update = await asyncio.wait_for(queue.get(), TICK_SECONDS)
                except TimeoutError:
                    update = pb.Update(settled=self.settled)
                if not self.frozen:
                    yield update
        finally:
            self._queues.discard(queue)

    async def start(self) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        add_DirectoryServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        host, _, _ = self.address.rpartition(":")
        self.address = f"{host}:{self._server.add_insecure_port(self.address)}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def __aenter__(self) -> FakeDirectory:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _tell(self, update: pb.Update) -> None:
        for queue in self._queues:
            queue.put_nowait(update)
