"""First token and tokens/s by each way to a model against vLLM's own server: the same model and arguments, 1, 8 and 32 streams at once.

The ways take turns in each round, so that a machine that drifts does not decide. All HTTP ways use one and the same client.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import httpx2

from bench.report import Row, report
from bench.startup import ARGUMENTS, EXAMPLE, ByHand, converted_model
from matrix_client import AsyncMatrix
from tests.e2e.product.inside import Inside
from tests.e2e.product.product import Product, until

ROUNDS = {1: (10, 24), 8: (4, 16), 32: (3, 8)}
"""By streams at once: how many rounds, and tokens of each answer."""
PORT = 28500
PROMPT = "Write a long story about a ship that crosses the sea."
MODEL = "smollm2"

Stream = Callable[[int], AsyncIterator[None]]
"""One request for so many tokens: something for each piece of text that comes."""
Way = Callable[[int, int], Awaitable[tuple[float, float]]]
"""So many streams at once, of so many tokens each: the median seconds to the first token, and tokens/s of all together."""


@contextmanager
def own_server() -> Iterator[str]:
    """vLLM's own OpenAI server with the replica's arguments and environment; its base URL."""
    environ = os.environ | {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    options = ["--model", str(converted_model()), *ARGUMENTS.split(), "--host", "127.0.0.1", "--port", str(PORT)]
    command = [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry", *options]
    server = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: ByHand.ask("GET", f"http://127.0.0.1:{PORT}/health") is not None, 300, "vLLM's own server does not answer")
        yield f"http://127.0.0.1:{PORT}/v1"
    finally:
        server.terminate()
        server.wait(30)


def over_http(client: httpx2.AsyncClient, url: str, token: str) -> Stream:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {token}"}

    async def pieces(tokens: int) -> AsyncIterator[None]:
        asked = body | {"max_tokens": tokens}
        async with client.stream("POST", f"{url}/chat/completions", json=asked, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line[6:])["choices"]
                    if choices and choices[0]["delta"].get("content"):
                        yield None

    return pieces


def over_grpc(matrix: AsyncMatrix) -> Stream:
    async def pieces(tokens: int) -> AsyncIterator[None]:
        stream = await matrix.chat(MODEL, PROMPT, stream=True, max_tokens=tokens, temperature=0, ignore_eos=True)
        async for piece in stream:
            if piece.text:
                yield None

    return pieces


def measured(stream: Stream) -> Way:
    async def one(tokens: int) -> tuple[float, int]:
        began, first, count = time.perf_counter(), 0.0, 0
        async for _ in stream(tokens):
            first = first or time.perf_counter() - began
            count += 1
        return first, count

    async def together(at_once: int, tokens: int) -> tuple[float, float]:
        began = time.perf_counter()
        results = await asyncio.gather(*(one(tokens) for _ in range(at_once)))
        seconds = time.perf_counter() - began
        assert all(count >= tokens * 0.7 for _, count in results), f"answers of {sorted({count for _, count in results})} pieces"
        return statistics.median(first for first, _ in results), at_once * tokens / seconds

    return together


async def rounds(ways: dict[str, Way], peer: str) -> list[Row]:
    rows: list[Row] = []
    for way in ways.values():
        await way(1, 8)  # connections, tokenizers, caches
    for at_once, (count, tokens) in ROUNDS.items():
        seen = [{name: await way(at_once, tokens) for name, way in ways.items()} for _ in range(count)]
        for name in ways:
            first = [one[name][0] * 1000 for one in seen]
            rows.append(Row(f"{name}, {at_once} at once: first token", tuple(first), "ms"))
            rows.append(Row(f"{name}, {at_once} at once", tuple(one[name][1] for one in seen), "tokens/s"))
            if name == peer:
                continue
            more = tuple((one[name][0] - one[peer][0]) * 1000 for one in seen)
            ratio = tuple(one[name][1] / one[peer][1] for one in seen)
            middle = statistics.median(more), statistics.median(ratio)
            rows.append(Row("  first token later by", more, "ms", "at most 5 ms", middle[0] <= 5))
            rows.append(Row("  tokens/s ratio", ratio, "x", ">= 0.97 x", middle[1] >= 0.97))
    return rows


async def compare(product: Product, own: str) -> list[Row]:
    inside = Inside(product, "quickstart")
    address = inside.address()
    (replica,) = inside.state()["replicas"]
    async with httpx2.AsyncClient(timeout=300, trust_env=False) as client, AsyncMatrix(home=product.home.root) as matrix:
        ways = {
            "vLLM's own server": measured(over_http(client, own, "none")),
            "replica over HTTP": measured(over_http(client, f"{replica['httpUrl']}/v1", address.client_token)),
            "gateway": measured(over_http(client, f"{address.public.gateway_url}/v1", address.client_token)),
            "Matrix().chat over gRPC": measured(over_grpc(matrix)),
        }
        return await rounds(ways, "vLLM's own server")


def main() -> None:
    with Product() as product:
        product.matrix("up", EXAMPLE, "--timeout", "300")
        with own_server() as own:
            rows = asyncio.run(compare(product, own))
    report("endpoint", rows)


if __name__ == "__main__":
    main()
