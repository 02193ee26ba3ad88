"""A stand-in for a replica: real gRPC on a port of its own, told by hand how to behave. `serving` runs one beside synchronous tests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio

from matrix_proto import inference_pb2 as pb
from matrix_proto.errors import ATTEMPT_KEY, REASON_KEY, RETRYABLE_KEY, ErrorReason
from matrix_proto.inference_pb2_grpc import InferenceServicer, add_InferenceServicer_to_server
from tests.unit.client.directory import TOKEN, FakeDirectory
from tests.unit.client.directory import replica as known
from tests.unit.client.worlds import CHAT, LAB, World, ready

__all__ = ["TOKEN", "Replica", "serving"]

_CODES = {
    ErrorReason.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.CONTEXT_TOO_LONG: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
    ErrorReason.NOT_OFFERED: grpc.StatusCode.UNIMPLEMENTED,
    ErrorReason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
Refusal = tuple[ErrorReason, str]


class Replica(InferenceServicer):
    """How it behaves, and what it was asked."""

    def __init__(self, id_: str = "one") -> None:
        self.id = id_
        self.address = "127.0.0.1:0"
        self.token = TOKEN
        self.words: tuple[str, ...] = ("one", " two", " three")
        self.refusals: deque[Refusal] = deque()
        """For the next requests, one each."""
        self.always: Refusal | None = None
        """For all requests."""
        self.breaks_after: int | None = None
        """Ends a stream (or, at 0, any answer) after so many pieces as a replica that is killed does: the connection goes."""
        self.ends_after: int | None = None
        """Ends a stream after so many pieces with an error of the engine."""
        self.delay = 0.0
        """Seconds before each piece and each answer."""
        self.held: asyncio.Event | None = None
        """No piece but the first before this is set, and no answer."""
        self.requests: list[dict[str, Any]] = []
        """As OpenAI's bodies."""
        self.attempts: list[int] = []
        self.probes = 0
        self.open = 0
        """Requests that are being answered now."""
        self.most_open = 0
        self.cancelled = 0
        self._server: grpc.aio.Server | None = None

    async def Chat(self, request: pb.ChatRequest, context: Any) -> AsyncIterator[pb.ChatReply]:
        body: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
        async for reply in self._answer(request, context, body, pb.ChatReply, ("message", "delta")):
            yield reply

    async def Complete(self, request: pb.CompleteRequest, context: Any) -> AsyncIterator[pb.CompleteReply]:
        async for reply in self._answer(request, context, {"prompt": request.prompt}, pb.CompleteReply, ("text", "text")):
            yield reply

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> AsyncIterator[pb.EmbedReply]:
        self.requests.append({"model": request.model, "input": list(request.input)} | _object(request.extra_json))
        await self._admit(context)
        vectors = [pb.Embedding(index=index, values=[len(text), 0.5]) for index, text in enumerate(request.input)]
        yield pb.EmbedReply(embeddings=reversed(vectors), usage=pb.Usage(prompt_tokens=2), json=b'{"object": "list", "model": "m"}')

    async def Models(self, request: pb.ModelsRequest, context: Any) -> pb.ModelsReply:
        self.probes += 1
        return pb.ModelsReply(models=[pb.Model(id="chat")])

    async def start(self) -> None:
        """Keeps its port over stop and start."""
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        add_InferenceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.address = f"127.0.0.1:{self._server.add_insecure_port(self.address)}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def __aenter__(self) -> Replica:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _answer(self, request: Any, context: Any, body: dict[str, Any], kind: Any, keys: tuple[str, str]) -> AsyncIterator[Any]:
        sampling = {field.name: _plain(value) for field, value in request.sampling.ListFields()}
        self.requests.append({"model": request.model} | body | sampling | _object(request.extra_json))
        await self._admit(context)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            usage = pb.Usage(prompt_tokens=4, completion_tokens=len(self.words))
            if request.stream:
                for position, word in enumerate(self.words):
                    await self._before(position, context)
                    yield kind(choices=[pb.Choice(text=word)], json=_json({"choices": [{keys[1]: _said(keys[1], word)}]}))
                yield kind(usage=usage, json=_json({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": len(self.words)}}))
                return
            await self._before(None, context)
            text = "".join(self.words)
            raw = {"choices": [{keys[0]: _said(keys[0], text)}], "usage": {"prompt_tokens": 4, "completion_tokens": len(self.words)}}
            yield kind(choices=[pb.Choice(text=text, finish_reason="stop")], usage=usage, json=_json(raw))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1

    async def _admit(self, context: Any) -> None:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        self.attempts.append(int(metadata[ATTEMPT_KEY]))
        if metadata["authorization"] != f"Bearer {self.token}":
            await _refuse(context, (ErrorReason.UNAUTHENTICATED, "wrong token"))
        refusal = self.refusals.popleft() if self.refusals else self.always
        if refusal is not None:
            await _refuse(context, refusal)

    async def _before(self, position: int | None, context: Any) -> None:
        """Before a piece of a stream, or (None) before a whole answer."""
        await asyncio.sleep(self.delay)
        if self.breaks_after is not None and self.breaks_after == (position or 0):
            assert self._server is not None
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if self.ends_after is not None and self.ends_after == (position or 0):
            await _refuse(context, (ErrorReason.ENGINE_FAILED, "the engine died"))
        if self.held is not None and position != 0:
            await self.held.wait()


async def _refuse(context: Any, refusal: Refusal) -> None:
    reason, message = refusal
    trailing = ((REASON_KEY, str(reason)), (RETRYABLE_KEY, "1" if reason.retryable else "0"))
    await context.abort(_CODES.get(reason, grpc.StatusCode.UNAVAILABLE), message, trailing)


def _said(key: str, text: str) -> Any:
    return text if key == "text" else {"role": "assistant", "content": text}


def _message(message: pb.Message) -> dict[str, Any]:
    return _object(message.json) or {"role": message.role, "content": message.content}


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else list(value)


def _object(text: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text) if text else {}
    return value


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def endpoint(directory: FakeDirectory) -> dict[str, Any]:
    """The status of a cluster that has this directory."""
    return ready(endpoints=[{"name": "grpc", "url": f"grpc://{directory.address}", "scope": "Machine"}])


@contextmanager
def serving(world: World, replica: Replica) -> Iterator[Replica]:
    """The replica and a directory that knows it, in a thread; the cluster `lab` and the deployment `chat` say so."""
    stopping, started = asyncio.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    async def work() -> None:
        async with replica, FakeDirectory() as directory:
            directory.put(known(replica.id, replica.address))
            world.put(LAB, endpoint(directory))
            world.put(CHAT, ready())
            started.set()
            await stopping.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),))
    thread.start()
    try:
        assert started.wait(20)
        yield replica
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
