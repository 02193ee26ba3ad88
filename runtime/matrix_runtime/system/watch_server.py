"""The directory's gRPC server: directory.proto's Watch, for either token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from matrix_proto import directory_pb2
from matrix_proto.state import HEARTBEAT_SECONDS
from matrix_runtime.addresses import take_soon
from matrix_runtime.grpc_auth import TokenInterceptor
from matrix_runtime.grpc_server import bind, make_server
from matrix_runtime.system.bell import Bell
from matrix_runtime.system.watchers import Watchers
from matrix_runtime.tokens import CLIENT_TOKEN, RAY_TOKEN, TokenFile

SETTLE_SECONDS = 2 * HEARTBEAT_SECONDS + 0.5
"""After a start: by then every living replica has reported, also where one heartbeat is late."""
BEAT_SECONDS = 0.9
"""An update comes at least each second, at times a little late."""
GATHER_SECONDS = 0.01
"""Changes that come this close together make one update."""
_LARGEST_REQUEST = 64 * 1024


class WatchServer:
    """Serves one directory's Watchers. `changed` rings when the directory's revision has moved."""

    def __init__(self, watchers: Watchers, changed: Bell) -> None:
        self._watchers = watchers
        self._changed = changed
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int, secrets_dir: Path, seconds: float) -> int:
        """Listens within `seconds`, else raises OSError. Returns the port."""
        tokens = TokenFile(secrets_dir / CLIENT_TOKEN), TokenFile(secrets_dir / RAY_TOKEN)
        server = make_server([TokenInterceptor(*tokens)], _LARGEST_REQUEST)
        server.add_generic_rpc_handlers((self._handler(),))
        taken = await take_soon(lambda: bind(server, host, port), seconds)
        await server.start()
        self._server = server
        return taken

    async def stop(self) -> None:
        """Ends all streams."""
        if self._server is not None:
            await self._server.stop(None)

    async def publish_forever(self) -> None:
        """Tells the watchers of each change and of each second, and once that the directory has settled."""
        settles = time.monotonic() + SETTLE_SECONDS
        while (left := settles - time.monotonic()) > 0:
            await self._publish(min(left, BEAT_SECONDS))
        self._watchers.settle()
        while True:
            await self._publish(BEAT_SECONDS)

    async def _publish(self, seconds: float) -> None:
        if await self._changed.wait(seconds):
            await asyncio.sleep(GATHER_SECONDS)
        self._watchers.publish()

    async def _watch(self, _: directory_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        watcher = self._watchers.join()
        try:
            while True:
                yield await watcher.next()
        finally:
            self._watchers.leave(watcher)

    def _handler(self) -> grpc.GenericRpcHandler:
        """As the generated code registers it, but for updates that are encoded already."""
        service = directory_pb2.DESCRIPTOR.services_by_name["Directory"]
        watch = grpc.unary_stream_rpc_method_handler(
            self._watch, request_deserializer=directory_pb2.WatchRequest.FromString, response_serializer=bytes
        )
        return grpc.method_handlers_generic_handler(service.full_name, {"Watch": watch})
