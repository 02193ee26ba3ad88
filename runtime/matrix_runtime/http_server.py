"""HTTP servers of ours: an ASGI app on a socket, inside a loop that is already running. The only module that knows uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from matrix_runtime.addresses import listening

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one, "0.0.0.0" and "::" all addresses of both families. Raises OSError."""
    host = listening(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by its connections. asyncio sets it only on sockets that were made with the protocol's number, which these are not; an
        # answer of two writes would else wait for the caller's delayed acknowledgement, 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket, in the place of one that is left from before. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The fastest event loop that is installed (uvloop, where it is)."""
    return uvicorn.Config(app="", loop="auto").get_loop_factory()


class _Server(uvicorn.Server):
    """Signals belong to the process, not to its server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class HttpServer:
    """One app on one socket."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, log_level="warning", lifespan="auto", timeout_keep_alive=75)
        self._server = _Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it serves (or is still starting)."""
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Returns when requests are being answered; raises what the app's start raises."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the HTTP server ended before it had started")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Takes no new connection, answers what is in flight (streams to their end), then returns."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
