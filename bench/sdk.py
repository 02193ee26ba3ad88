"""Requests/s of the SDK with 32 requests in flight against one dummy replica: the real engine host, without Ray.

Beside it, in turn: a client and a server written by hand with grpc.aio, that client against the same replica (what is left then is the
SDK's own cost), and the openai package over HTTP against the same replica. All clients run on uvloop in this process, one at a time.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import grpc.aio
import openai
import uvloop

from bench.report import Row, paired_ratio, report
from matrix_client import AsyncMatrix
from matrix_crds.cluster import Resources
from matrix_crds.deployment import DummyEngine, Engine
from matrix_proto import inference_pb2 as pb
from matrix_proto.inference_pb2_grpc import InferenceStub
from matrix_runtime.engines.port import EngineSettings
from matrix_runtime.serving.channel import HostSpec, Ready
from matrix_runtime.serving.host_process import HostProcess
from tests.unit.client.worlds import CHAT, LAB, World, new_world, ready

ROUNDS = 7
IN_FLIGHT = 32
SECONDS = 1.5
"""Of each way in each round."""
TOKENS = 8
PROMPT = "hello"
TOKEN = "the-token"

OURS, BY_HAND, BY_HAND_HERE, OPENAI = "AsyncMatrix", "by hand, client and server", "by hand, the same replica", "openai over HTTP"

Ask = Callable[[], Awaitable[int]]
"""One request; how many tokens came."""


@asynccontextmanager
async def dummy_replica(world: World, token_file: Path) -> AsyncIterator[Ready]:
    """The engine host with a dummy engine that answers at once."""
    engine = Engine(dummy=DummyEngine(tokens_per_second=1_000_000, first_token_seconds="0"))
    spec = HostSpec(
        settings=EngineSettings(engine=engine, served_name="chat", source="", resources=Resources()),
        bind_host="127.0.0.1",
        announced_host="127.0.0.1",
        token_file=str(token_file),
    )
    host = await HostProcess.start(spec, {})
    try:
        await host.checked()
        yield await host.load(None)
    finally:
        await host.kill()


@contextmanager
def server(kind: str, argument: str) -> Iterator[str]:
    """One of bench.sdk_servers; its address."""
    process = subprocess.Popen([sys.executable, "-m", "bench.sdk_servers", kind, argument], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(20)


def with_matrix(matrix: AsyncMatrix) -> Ask:
    async def ask() -> int:
        return (await matrix.chat("chat", PROMPT, max_tokens=TOKENS)).completion_tokens

    return ask


def by_hand(channel: grpc.aio.Channel) -> Ask:
    stub, metadata = InferenceStub(channel), (("authorization", f"Bearer {TOKEN}"),)  # type: ignore[no-untyped-call]

    async def ask() -> int:
        messages = [pb.Message(role="user", content=PROMPT)]
        request = pb.ChatRequest(model="chat", messages=messages, sampling=pb.Sampling(max_tokens=TOKENS))
        async for reply in stub.Chat(request, metadata=metadata, timeout=600):
            tokens: int = reply.usage.completion_tokens
        return tokens

    return ask


def with_openai(client: openai.AsyncOpenAI) -> Ask:
    async def ask() -> int:
        answer = await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": PROMPT}], max_tokens=TOKENS)
        assert answer.usage is not None
        return answer.usage.completion_tokens

    return ask


async def requests_per_second(ask: Ask, seconds: float) -> float:
    begun, count = time.perf_counter(), 0

    async def one_after_the_other() -> None:
        nonlocal count
        while time.perf_counter() - begun < seconds:
            assert await ask() == TOKENS
            count += 1

    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - begun)


async def measure(root: Path) -> dict[str, list[float]]:
    token_file = root / "token"
    token_file.write_text(TOKEN)
    world = new_world(root)
    world.put(LAB)
    world.client_token(LAB, TOKEN)
    async with AsyncExitStack() as stack:
        replica = await stack.enter_async_context(dummy_replica(world, token_file))
        directory = stack.enter_context(server("directory", replica.grpc_address))
        written = stack.enter_context(server("hand-written", TOKEN))
        world.put(LAB, ready(endpoints=[{"name": "grpc", "url": f"grpc://{directory}", "scope": "Machine"}]))
        world.put(CHAT, ready())
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        ways = {
            OURS: with_matrix(await stack.enter_async_context(AsyncMatrix(home=world.home.root))),
            BY_HAND: by_hand(await stack.enter_async_context(grpc.aio.insecure_channel(written))),
            BY_HAND_HERE: by_hand(await stack.enter_async_context(grpc.aio.insecure_channel(replica.grpc_address))),
            OPENAI: with_openai(
                await stack.enter_async_context(openai.AsyncOpenAI(base_url=f"{replica.url}/v1", api_key=TOKEN, http_client=http))
            ),
        }
        for ask in ways.values():
            await requests_per_second(ask, 0.5)
        seen: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, ask in ways.items():
                seen[name].append(await requests_per_second(ask, SECONDS))
        return seen


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        seen = uvloop.run(measure(Path(root)))
    rows = [Row(name, tuple(values), "requests/s") for name, values in seen.items()]
    rows.append(paired_ratio(f"  to: {BY_HAND}", seen[OURS], seen[BY_HAND], ">= 0.7 x", at_least=0.7))
    rows.append(paired_ratio(f"  to: {BY_HAND_HERE}", seen[OURS], seen[BY_HAND_HERE], ">= 0.9 x", at_least=0.9))
    rows.append(paired_ratio(f"  to: {OPENAI}", seen[OURS], seen[OPENAI], "> 5 x", at_least=5))
    report("sdk", rows)


if __name__ == "__main__":
    main()
