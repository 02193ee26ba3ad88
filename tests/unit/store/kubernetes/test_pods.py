"""What pods say, as it comes over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.server import ServerConnection, serve

from matrix_store.kubernetes.connection import Connection, connect
from matrix_store.kubernetes.pods import output_of, run
from matrix_store.kubernetes.websocket import PROTOCOL
from tests.unit.store.support import run as finished

KEEPALIVE_TIMER = "02"
"""In /proc/net/tcp (Linux, Documentation/networking/proc_net_tcp)."""


@asynccontextmanager
async def answering(body: bytes) -> AsyncIterator[Connection]:
    """A server that sends this and then is silent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            yield Connection(http, url, "default")


def kubeconfig(directory: Path, server: str) -> Path:
    """Of a cluster that asks nobody who they are."""
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    known = {"clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}]}
    path = directory / "kubeconfig"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [context], **known}))
    return path


def timers(port: int) -> list[str]:
    """Those of the connections of this machine to that port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[5].partition(":")[0] for row in rows if int(row[2].rpartition(":")[2], 16) == port]


def test_a_log_in_which_nothing_has_come_yet_is_watched_over_by_tcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    async def look() -> list[str]:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            connection = connect(kubeconfig=kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
            reading = asyncio.create_task(anext(aiter(output_of(connection, "default", "p", "c", follow=True))))  # type: ignore[var-annotated,arg-type]
            await asked.wait()
            try:
                return timers(port)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                await connection.http.aclose()

    assert finished(look()) == [KEEPALIVE_TIMER]


def test_a_line_of_a_log_ends_at_a_newline_alone() -> None:
    async def look() -> list[str]:
        body = "10%\r20%\u2028\n\nlast\n".encode()
        async with answering(body) as connection, aclosing(output_of(connection, "default", "p", "c", follow=True)) as lines:  # type: ignore[type-var]
            return [await anext(aiter(lines)) for _ in range(3)]

    assert finished(look()) == ["10%\r20%\u2028", "", "last"]


def test_the_last_line_of_a_program_needs_no_newline() -> None:
    async def printing(socket: ServerConnection) -> None:
        for message in (b"\1one\ntw", b"\1o", b'\3{"status": "Success"}'):
            await socket.send(message)

    async def look() -> list[str]:
        async with serve(printing, "127.0.0.1", 0, subprotocols=[PROTOCOL]) as server:
            url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
                return [line async for line in run(Connection(http, url, "default"), "default", "p", "c", ["cat"])]

    assert finished(look()) == ["one", "two"]
