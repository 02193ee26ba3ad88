"""Tokens/s of a replica of ours against vLLM's own server: the same model, the same arguments, at 1 and at 8 requests at once, in turn."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from bench.report import Row, paired_ratio, report
from bench.startup import ARGUMENTS, EXAMPLE, ByHand, converted_model
from tests.e2e.product.product import Product, until

ROUNDS = 3
TOKENS = 64
PORT = 28500
PROMPT = "Write a long story about a ship that crosses the sea."


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


async def tokens_per_second(url: str, token: str, at_once: int) -> float:
    """Completion tokens of `at_once` equal requests over the seconds that they took together."""
    body = {"model": "smollm2", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=300) as client:
        started = time.monotonic()
        answers = await asyncio.gather(*(client.post(f"{url}/completions", json=body) for _ in range(at_once)))
        seconds = time.monotonic() - started
    counts = [answer.raise_for_status().json()["usage"]["completion_tokens"] for answer in answers]
    assert counts == [TOKENS] * at_once
    return sum(counts) / seconds


def main() -> None:
    with Product() as product:
        product.matrix("up", EXAMPLE, "--timeout", "300")
        deployment = product.get("mxd/smollm2")
        uid = product.get("mxc/quickstart")["metadata"]["uid"]
        ours = deployment["status"]["endpoints"][0]["url"]
        token = (product.home.cluster(uid) / "secrets" / "client-token").read_text().strip()
        with own_server() as theirs:
            for url in (ours, theirs):
                asyncio.run(tokens_per_second(url, token, 1))
            rows: list[Row] = []
            for at_once in (1, 8):
                pairs = [
                    (asyncio.run(tokens_per_second(ours, token, at_once)), asyncio.run(tokens_per_second(theirs, token, at_once)))
                    for _ in range(ROUNDS)
                ]
                mine, own = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
                rows += [
                    Row(f"replica, {at_once} at once", tuple(mine), "tokens/s"),
                    Row(f"vLLM's own server, {at_once} at once", tuple(own), "tokens/s"),
                    paired_ratio("  ratio", mine, own, ">= 0.97 x", at_least=0.97),
                ]
    report("tokens", rows)


if __name__ == "__main__":
    main()
