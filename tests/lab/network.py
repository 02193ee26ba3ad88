"""A network between two programs of this machine, to be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HERE = "127.0.0.1"


class Network:
    """A way to a port. `port` may be changed: what connects later comes to the new one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.entrance = 0
        self._passes = asyncio.Event()
        self._passes.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._left: int | None = None

    def stall(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._passes.clear()

    def mend(self) -> None:
        """What was held comes through, as after TCP's repetitions."""
        self._passes.set()

    def cut_after(self, count: int) -> None:
        """All connections are reset after so many more bytes to that port; later ones come through."""
        self._left = count

    def cut(self) -> None:
        self._left = None
        for end in self._ends:
            end.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HERE, self.port)
        self._ends |= {writer, back}
        await asyncio.gather(self._pass_on(reader, back, counts=True), self._pass_on(there, writer), return_exceptions=True)
        self._ends -= {writer, back}
        writer.close()
        back.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = False) -> None:
        while data := await reader.read(65_536):
            await self._passes.wait()
            if counts and self._left is not None:
                if len(data) >= self._left:
                    writer.write(data[: self._left])
                    await writer.drain()
                    self.cut()
                    return
                self._left -= len(data)
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def network(port: int, entrance: int = 0) -> AsyncIterator[Network]:
    """`entrance`: where it listens; 0 for any."""
    it = Network(port)
    server = await asyncio.start_server(it.serve, HERE, entrance)
    it.entrance = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()
        it.mend()
        it.cut()
