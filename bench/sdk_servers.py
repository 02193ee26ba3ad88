"""Servers of the SDK bench, each a process of its own: `python -m bench.sdk_servers directory|hand-written ARGUMENT`.

`directory REPLICA` knows one replica at that address. `hand-written TOKEN` is what one writes with grpc.aio in twenty lines: it
checks the token and gives an answer of the same size as the dummy engine's. Both print their address and end with their stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from matrix_proto import inference_pb2 as pb
from matrix_proto.inference_pb2_grpc import InferenceServicer, add_InferenceServicer_to_server
from tests.unit.client.directory import FakeDirectory, replica

WORDS = "the quick brown fox jumps over a lazy"


class HandWritten(InferenceServicer):
    """A chat in which nothing is asked of a model."""

    def __init__(self, token: str) -> None:
        self._authorization = ("authorization", f"Bearer {token}")

    async def Chat(self, request: pb.ChatRequest, context: Any) -> AsyncIterator[pb.ChatReply]:
        if self._authorization not in [tuple(pair) for pair in context.invocation_metadata()]:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        answer = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request.model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS}, "logprobs": None, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 8, "total_tokens": 9},
        }
        yield pb.ChatReply(
            choices=[pb.Choice(text=WORDS, finish_reason="length")],
            usage=pb.Usage(prompt_tokens=1, completion_tokens=8),
            json=json.dumps(answer).encode(),
        )


async def directory(address: str) -> None:
    async with FakeDirectory() as served:
        served.put(replica("replica", address))
        print(served.address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def hand_written(token: str) -> None:
    server = grpc.aio.server()
    add_InferenceServicer_to_server(HandWritten(token), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    import uvloop

    uvloop.run({"directory": directory, "hand-written": hand_written}[sys.argv[1]](sys.argv[2]))
