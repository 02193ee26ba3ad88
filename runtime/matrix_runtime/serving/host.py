"""The engine host: python -m matrix_runtime.serving.host DESCRIPTOR, a child process of the replica.

Why a process of its own: vLLM takes tens of seconds of CPU to import, which in the replica itself would have to be paid twice (inside a
Ray actor vLLM must spawn its engine core, here it may fork it), would starve the heartbeats, and a crash would take the report of its
cause along. It never outlives the replica, and its engine core never outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import traceback
from pathlib import Path

from starlette.types import ASGIApp

from matrix_runtime.auth import Gate, Rules
from matrix_runtime.engines.port import HEALTH_PATH, OFFERED_PATHS, Engine
from matrix_runtime.engines.select import make_engine
from matrix_runtime.errors import StartFailed
from matrix_runtime.http_server import HttpServer, fast_loop, listen
from matrix_runtime.lifeline import die_with_parent
from matrix_runtime.ongoing import OngoingRequests
from matrix_runtime.serving.channel import Checked, Failed, HostChannel, HostSpec, Load, Ongoing, Ready
from matrix_runtime.tokens import TokenFile

TICK_SECONDS = 1.0


def main(descriptor: int) -> int:
    """Runs until SIGTERM (then the requests in flight are finished first) or until the engine fails. Returns the exit code."""
    channel = HostChannel(descriptor)
    try:
        spec = channel.receive(HostSpec)
        engine = make_engine(spec.settings)
        engine.prepare()
        channel.send(Checked())
        load = channel.receive(Load)
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            runner.run(_serve(engine, Path(load.model) if load.model else None, spec, channel))
    except BaseException as error:  # an engine may exit as well as raise
        if not isinstance(error, StartFailed):  # that one is in plain words already
            traceback.print_exc()
        with contextlib.suppress(OSError):
            channel.send(_failed(error))
        return 1
    return 0


async def _serve(engine: Engine, model: Path | None, spec: HostSpec, channel: HostChannel) -> None:
    await engine.load(model)
    counter = OngoingRequests(engine.app())
    server = HttpServer(guarded(counter, TokenFile(Path(spec.token_file))), listen(spec.bind_host, 0))
    stopping = asyncio.Event()
    # Only now: a handler that the engine core inherits by fork would tell this process of the core's signals.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await server.start()
    channel.send(Ready(url=server.url))
    try:
        await _watch(engine, counter, stopping, channel)
        await server.stop()
    finally:
        await engine.stop()


async def _watch(engine: Engine, counter: OngoingRequests, stopping: asyncio.Event, channel: HostChannel) -> None:
    told = 0
    while not stopping.is_set():
        await engine.check_health()
        if counter.count != told:
            told = counter.count
            channel.send(Ongoing(count=told))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), TICK_SECONDS)


def guarded(app: ASGIApp, token: TokenFile) -> Gate:
    """The app behind the gate: what is offered asks for the client token, a bare health look for none."""
    rules: Rules = {**dict.fromkeys(OFFERED_PATHS, (token,)), HEALTH_PATH: ()}
    return Gate(app, rules)


def _failed(error: BaseException) -> Failed:
    if isinstance(error, StartFailed):
        return Failed(error=error.message, reason=error.reason)
    return Failed(error=f"{type(error).__name__}: {error}")


if __name__ in ("__main__", "__mp_main__"):
    # "__mp_main__": what multiprocessing spawns (the engine core, where it can't be forked) imports this module by that name.
    die_with_parent()
if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
