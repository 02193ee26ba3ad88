"""The engine host: python -m matrix_runtime.serving.host DESCRIPTOR, a child process of the replica.

Why a process of its own: vLLM takes tens of seconds of CPU to import, which in the replica itself would have to be paid twice (inside a
Ray actor vLLM must spawn its engine core, here it may fork it), would starve the heartbeats, and a crash would take the report of its
cause along. It never outlives the replica, and its engine core never outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import traceback
from pathlib import Path

from matrix_runtime.engines.port import Engine
from matrix_runtime.engines.select import make_engine
from matrix_runtime.errors import StartFailed
from matrix_runtime.http_server import fast_loop
from matrix_runtime.lifeline import die_with_parent
from matrix_runtime.serving.channel import Busy, Checked, Drain, Failed, HostChannel, HostSpec, Load, Ready
from matrix_runtime.serving.servers import Servers
from matrix_runtime.tokens import TokenFile

TICK_SECONDS = 1.0


def main(descriptor: int) -> int:
    """Runs until it is told to drain, or until the engine fails. Returns the exit code."""
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
    servers = Servers(engine, spec.settings.served_name, TokenFile(Path(spec.token_file)))
    await engine.load(model, servers.meter)
    url, grpc_address = await servers.start(spec.bind_host, spec.announced_host)
    channel.send(Ready(url=url, grpc_address=grpc_address))
    failed = asyncio.create_task(engine.failed())
    others = asyncio.create_task(_drain(servers, channel)), asyncio.create_task(_tell(servers, channel))
    done, _ = await asyncio.wait((failed, *others), return_when=asyncio.FIRST_COMPLETED)
    if failed in done:
        await servers.fail()
        raise failed.result()  # what is left of the engine ends with this process
    for task in done:
        task.result()
    await engine.stop()


async def _drain(servers: Servers, channel: HostChannel) -> None:
    await servers.drain((await channel.received(Drain)).seconds)


async def _tell(servers: Servers, channel: HostChannel) -> None:
    told = None
    while True:
        load = servers.load()
        if load != told:
            told = load
            channel.send(Busy(load=load))
        await asyncio.sleep(TICK_SECONDS)


def _failed(error: BaseException) -> Failed:
    if isinstance(error, StartFailed):
        return Failed(error=error.message, reason=error.reason)
    return Failed(error=f"{type(error).__name__}: {error}")


if __name__ in ("__main__", "__mp_main__"):
    # "__mp_main__": what multiprocessing spawns (the engine core, where it can't be forked) imports this module by that name.
    die_with_parent()
if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the servers and the engine were ended in order; what the interpreter would do now takes seconds
