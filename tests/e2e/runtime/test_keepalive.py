"""A peer that is frozen or cut off ends nothing by itself: each side notices that its pings are not answered, in the time that its settings
say. Here they say a twentieth of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from matrix_client.channels import OPTIONS
from matrix_runtime.grpc_server import KEEPALIVE_SECONDS, options
from tests.lab.network import Network, network

QUICKER = 20
TIMES = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
METHOD = "/test.Test/Wait"
SLACK = 10.0
"""Of a machine that does other things. The default for an unanswered ping is a minute."""


def quicker(given: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, value // QUICKER if name in TIMES else value) for name, value in given]


class Server:
    """Says one thing, and then waits until its caller is gone."""

    def __init__(self) -> None:
        self.noticed = asyncio.Event()

    async def wait(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        try:
            await context.write(b"hello")
            await asyncio.Event().wait()
        finally:
            self.noticed.set()


@asynccontextmanager
async def connected(
    served: Iterable[tuple[str, Any]], called: Iterable[tuple[str, Any]]
) -> AsyncIterator[tuple[Server, Network, grpc.aio.UnaryStreamCall[bytes, bytes]]]:
    """A call under way."""
    handler = Server()
    server = grpc.aio.server(options=list(served))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Test", {"Wait": grpc.unary_stream_rpc_method_handler(handler.wait)}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with network(port) as way, grpc.aio.insecure_channel(f"127.0.0.1:{way.entrance}", list(called)) as channel:
        call = channel.unary_stream(METHOD)(b"")
        assert await call.read() == b"hello"
        yield handler, way, call
    await server.stop(0)


def test_a_server_notices_a_caller_that_was_cut_off() -> None:
    async def scenario() -> None:
        async with connected(quicker(options(1024)), ()) as (server, way, _):
            way.stall()
            async with asyncio.timeout(2 * KEEPALIVE_SECONDS / QUICKER + SLACK):
                await server.noticed.wait()

    asyncio.run(scenario())


def test_a_client_notices_a_replica_that_was_cut_off() -> None:
    promised = sum(value for name, value in OPTIONS if name in TIMES[:2]) / 1000

    async def scenario() -> None:
        async with connected((), quicker(OPTIONS)) as (_, way, call):
            way.stall()
            began = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert time.monotonic() - began < promised / QUICKER + SLACK

    asyncio.run(scenario())
