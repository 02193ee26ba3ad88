"""What the side-car sends on: over a real unix socket, to an app in the place of HAProxy."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from matrix_runtime.gateway.forward import Forwarder
from matrix_runtime.gateway.settings import ServedModel
from matrix_runtime.http_server import HttpServer, listen_unix

SECONDS = 20
MODEL = ServedModel(name="m", application="mx-md-m")


class Upstream:
    """Reads a request, begins its answer, and says no more until the caller has gone."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.headers = dict(scope["headers"])
        more = True
        while more:
            message = await receive()
            self.body += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


def request() -> Request:
    headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer x"), (b"transfer-encoding", b"chunked")]
    return Request({"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b"", "headers": headers, "server": None})


async def with_upstream(directory: Path, use: Any) -> None:
    upstream = Upstream()
    server = HttpServer(upstream, listen_unix(directory / "s"))
    await server.start()
    forwarder = Forwarder(directory / "s")
    try:
        async with asyncio.timeout(SECONDS):
            await use(upstream, forwarder)
    finally:
        await forwarder.close()
        await server.stop()


def test_a_body_is_sent_whole_and_not_kept_while_the_answer_streams(tmp_path: Path) -> None:
    async def use(upstream: Upstream, forwarder: Forwarder) -> None:
        body = b"x" * 300_000
        references = sys.getrefcount(body)
        answer = await forwarder.send(request(), body, MODEL, "least-0")
        assert answer is not None and upstream.body == body
        assert (upstream.headers[b"content-length"], upstream.headers[b"x-matrix-slot"]) == (b"300000", b"least-0")
        assert not {b"authorization", b"transfer-encoding"} & upstream.headers.keys()
        upstream.body = b""
        assert sys.getrefcount(body) == references
        await leave(answer)

    asyncio.run(with_upstream(tmp_path, use))


def test_an_answer_whose_caller_has_left_before_its_first_byte_is_ended(tmp_path: Path) -> None:
    async def use(upstream: Upstream, forwarder: Forwarder) -> None:
        answer = await forwarder.send(request(), b"{}", MODEL, "least-0")
        await leave(answer)
        await upstream.left.wait()

    asyncio.run(with_upstream(tmp_path, use))


async def leave(answer: Any) -> None:
    """Answers a caller who takes nothing, and has left already."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        await asyncio.get_running_loop().create_future()

    await answer({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
