"""The engine host as the replica sees it: a child process with a channel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from typing import TypeVar

from matrix_crds.base import Model
from matrix_runtime.output import Output
from matrix_runtime.serving.channel import EVENTS, Busy, Checked, Drain, Failed, HostSpec, Load, Ready, encode
from matrix_runtime.serving.failures import classify, classify_exit

MODULE = "matrix_runtime.serving.host"
WITHHELD = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Ray's token means code execution on the whole cluster; an engine does not need it."""
END_SECONDS = 10.0

Event = Checked | Ready | Busy | Failed
Expected = TypeVar("Expected", Checked, Ready)


class HostProcess:
    """Made by `start`. Its output is copied to ours."""

    def __init__(self, process: asyncio.subprocess.Process, channel: socket.socket, output: Output) -> None:
        assert process.stdout is not None
        self._process = process
        self._channel = channel
        self._output = output
        self._copying = asyncio.create_task(output.copy(process.stdout))
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    async def start(cls, spec: HostSpec, environment: Mapping[str, str]) -> HostProcess:
        """Starts the process and tells it what to run."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", MODULE, str(theirs.fileno())),
                env={name: value for name, value in os.environ.items() if name not in WITHHELD} | dict(environment),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        host = cls(process, ours, Output())
        await host._send(spec)
        return host

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def checked(self) -> None:
        """Until the engine has accepted its arguments. Raises StartFailed."""
        await self._expect(Checked)

    async def load(self, model: str | None) -> Ready:
        """Loads the model; returns where its servers are once they answer. Raises StartFailed."""
        await self._send(Load(model=model))
        return await self._expect(Ready)

    async def next_event(self) -> Event:
        """The next thing that happens after `load`. Raises StartFailed when the host has failed or ended."""
        reader, _ = await self._open()
        line = b""
        with contextlib.suppress(ConnectionError):
            line = await reader.readline()
        if not line:
            code = await self._ended()
            raise classify_exit(code, self._output.last())
        event = EVENTS.validate_json(line)
        if isinstance(event, Failed):
            await self._ended()
            raise classify(event.error, self._output.last(), event.reason)
        return event

    async def stop(self, drain: float, end: float) -> None:
        """Lets it finish what is in flight, for `drain` seconds; it has `end` seconds more to end, then it is killed."""
        await self._send(Drain(seconds=drain))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), drain + end)
        await self.kill()

    async def kill(self) -> None:
        """Ends it at once; its engine core goes with it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _expect(self, kind: type[Expected]) -> Expected:
        event = await self.next_event()
        if not isinstance(event, kind):
            raise RuntimeError(f"the engine host said {event.kind} where {kind.__name__} was due")
        return event

    async def _send(self, message: Model) -> None:
        _, writer = await self._open()
        with contextlib.suppress(ConnectionError):  # it has ended: the next event tells why
            writer.write(encode(message))
            await writer.drain()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(sock=self._channel)
        return self._streams

    async def _ended(self) -> int:
        """Its exit code, once all of its output is read."""
        try:
            async with asyncio.timeout(END_SECONDS):
                code = await self._process.wait()
                await asyncio.shield(self._copying)
        except TimeoutError:
            await self.kill()
            code = await self._process.wait()
        return code
