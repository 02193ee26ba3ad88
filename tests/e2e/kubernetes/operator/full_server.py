"""A way to an API server that may be full: then every new call is answered as an overloaded server does, 429 with Retry-After.

The server's own flow control can't be made to: a user without any share of it still gets one call at a time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from matrix_store.kubernetes.connection import connect

SECONDS = 60.0
FULL: dict[str, Any] = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "Too many requests, please try again later.",
    "reason": "TooManyRequests",
    "code": 429,
}
PASSED_ON = ("Content-Type", "Accept")


class FullServer:
    """Calls go on to the server as its administrator's, watches too, unless `full` is set."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        self.full = threading.Event()
        self.turned_away = 0
        self.kubeconfig = directory / "kubeconfig-by-the-way"
        self._connection = connect(kubeconfig=kubeconfig)
        self._session: aiohttp.ClientSession

    async def serve(self, started: Future[None], ending: asyncio.Event) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        async with aiohttp.ClientSession(self._connection.server, connector=aiohttp.TCPConnector(limit=0)) as self._session:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._write(f"http://127.0.0.1:{runner.addresses[0][1]}")
            started.set_result(None)
            await ending.wait()
            await runner.cleanup()
        await self._connection.http.aclose()

    def _write(self, url: str) -> None:
        contexts = [{"name": "here", "context": {"cluster": "lab", "user": "me"}}]
        names = {"apiVersion": "v1", "kind": "Config", "current-context": "here", "contexts": contexts}
        users = [{"name": "me", "user": {}}]
        self.kubeconfig.write_text(yaml.safe_dump({**names, "clusters": [{"name": "lab", "cluster": {"server": url}}], "users": users}))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.full.is_set():
            self.turned_away += 1
            return web.json_response(FULL, status=429, headers={"Retry-After": "1"})
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        body = await request.read()
        timeout = aiohttp.ClientTimeout(total=None)
        asked = self._session.request(
            request.method, request.path_qs, data=body or None, headers=headers, ssl=self._connection.tls or True, timeout=timeout
        )
        async with asked as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


@contextmanager
def full_server(kubeconfig: Path, directory: Path) -> Iterator[FullServer]:
    """One that runs in a thread of its own, and is not full yet."""
    server, loop, started, ending = FullServer(kubeconfig, directory), asyncio.new_event_loop(), Future[None](), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve(started, ending)), daemon=True)
    thread.start()
    try:
        started.result(SECONDS)
        yield server
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(SECONDS)
