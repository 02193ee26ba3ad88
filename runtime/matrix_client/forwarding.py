"""A port of this machine that leads to a Service of a cluster, through its API server. Outlives the pod behind the Service."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from matrix_store.errors import Forbidden, NotFound, StoreError, Unavailable
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import Connection
from matrix_store.kubernetes.credentials import CredentialsFailed
from matrix_store.kubernetes.services import Behind, behind
from matrix_store.kubernetes.tunnel import Tunnel, tunnel

LOOPBACK = "127.0.0.1"
BLOCK_BYTES = 65_536
PATIENCE_SECONDS = 15.0
"""How long a new connection waits for a pod that takes it; a program that connects gives up about then, and tries again."""
PAUSE_SECONDS = 0.5
LINGER_SECONDS = 2.0
"""The protocol knows no half-closed connections: a program that has closed its side is sent what still comes, until so long a silence."""


class Forwarding:
    """Each connection to `address` becomes one to the Service. Made by `open`; belongs to one event loop."""

    def __init__(self, connection: Connection, namespace: str, service: str, port: int, told: Callable[[str], None]) -> None:
        self.service = service
        self.pod = ""
        """That the last connection went to."""
        self._connection = connection
        self._place = (namespace, service, port)
        self._told = told
        self._behind: Behind | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        connection: Connection,
        namespace: str,
        service: str,
        port: int,
        local_port: int = 0,
        told: Callable[[str], None] = lambda _: None,
    ) -> Forwarding:
        """Listens on loopback at once; `local_port` 0 for any. `told` hears why a connection failed. Raises OSError."""
        forwarding = cls(connection, namespace, service, port, told)
        forwarding._server = await asyncio.start_server(forwarding._accept, LOOPBACK, local_port)
        return forwarding

    @property
    def address(self) -> str:
        """host:port of this machine."""
        if self._server is None:
            raise RuntimeError("not opened")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def find(self) -> Behind:
        """The pod that the next connection goes to. Raises NobodyBehind, Forbidden, Unavailable."""
        if self._behind is None:
            self._behind = await behind(Api(self._connection), *self._place)
            if self.pod not in ("", self._behind.pod):
                self._told(f"{self.service} is at pod {self._behind.pod} now")
            self.pod = self._behind.pod
        return self._behind

    async def close(self) -> None:
        """Ends the connections too."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end. What broke is reset, so that nobody takes it for a whole answer."""
        try:
            await self._carry(reader, writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        except (StoreError, OSError) as error:
            self._told(str(error))
            _reset(writer)
        finally:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """To the pod that was found last, or, if it has gone, to the one that is there now."""
        until = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            try:
                found = await self.find()
                async with tunnel(self._connection, found.namespace or self._place[0], found.pod, found.port) as opened:
                    await _pump(reader, writer, opened)
                return
            except _Begun as error:
                self._behind = None
                raise error.why from error
            except Forbidden:
                raise
            except (NotFound, Unavailable) as error:
                self._behind = None
                if isinstance(error.__cause__, CredentialsFailed):  # a plugin may bother a person at each try
                    raise
                if asyncio.get_running_loop().time() > until or reader.at_eof():
                    raise Unavailable(str(error)) from error
            await asyncio.sleep(PAUSE_SECONDS)


class _Begun(Exception):
    """It broke after something had been sent or had come: it can't be begun again elsewhere."""

    def __init__(self, why: StoreError) -> None:
        super().__init__(str(why))
        self.why = why


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: Tunnel) -> None:
    """Both ways, until the pod's side ends or the program's has. Raises _Begun."""
    upwards = asyncio.create_task(_up(reader, opened))
    downwards = asyncio.create_task(_down(writer, opened))
    try:
        done, _ = await asyncio.wait({upwards, downwards}, return_when=asyncio.FIRST_COMPLETED)
        if downwards not in done:
            await _silence(downwards, opened)
        for task in (downwards, upwards):
            if task.done() and (error := task.exception()) is not None:
                raise error
    except StoreError as error:
        raise _Begun(error) from error
    finally:
        for task in (upwards, downwards):
            task.cancel()
        await asyncio.gather(upwards, downwards, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closing it will be a reset: without any linger the kernel sends no orderly end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _silence(downwards: asyncio.Task[None], opened: Tunnel) -> None:
    before = -1
    while not downwards.done() and opened.received != before:
        before = opened.received
        await asyncio.wait({downwards}, timeout=LINGER_SECONDS)


async def _up(reader: asyncio.StreamReader, opened: Tunnel) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(BLOCK_BYTES):
            await opened.write(data)


async def _down(writer: asyncio.StreamWriter, opened: Tunnel) -> None:
    with suppress(ConnectionError):
        while data := await opened.read():
            writer.write(data)
            await writer.drain()
