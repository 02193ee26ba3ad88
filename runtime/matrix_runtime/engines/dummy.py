"""The dummy engine: a TEST engine. It speaks OpenAI's API and says deterministic nonsense at a chosen speed, failing at a chosen rate.

No model is loaded. It looks at n, seed, stop, max_tokens, ignore_eos, response_format, tools with a tool_choice, stream_options and, for
embeddings, dimensions; everything else is accepted and has no effect.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from matrix_crds.deployment import DummyEngine
from matrix_proto.errors import ErrorReason
from matrix_proto.state import Load
from matrix_runtime.engines.dummy_answers import DIMENSIONS, Said, read_request, vector
from matrix_runtime.engines.dummy_app import make_app
from matrix_runtime.engines.port import Api, Body, ModelCard, Piece, TokenMeter, Usage, Vectors
from matrix_runtime.errors import ApiError

SEQUENCES = 256
"""It calls its cache full when so many answers are under way."""
SHORTEST_SLEEP = 0.0005
"""Seconds. A loop can't sleep for less."""


@dataclass(frozen=True)
class Form:
    """What sets chat and completion apart on the wire."""

    prefix: str
    whole_object: str
    part_object: str
    whole_choice: Callable[[Said], Body]
    part_choice: Callable[[str, bool, Said], Body]


class DummyAdapter:
    """The port `Engine`, without an engine."""

    def __init__(self, engine: DummyEngine, served_name: str) -> None:
        self._first = float(engine.first_token_seconds)
        self._step = 1 / engine.tokens_per_second
        self._failure_rate = float(engine.failure_rate)
        self._seed = engine.seed
        self._model = served_name
        self._failures = random.Random(engine.seed)
        self._requests = 0
        self._running = 0
        self._meter: TokenMeter | None = None

    def prepare(self) -> None:
        """Nothing to check: the manifest's own rules have."""

    async def load(self, model: Path | None, meter: TokenMeter) -> None:
        """Nothing to load."""
        self._meter = meter

    def app(self) -> ASGIApp:
        """OpenAI's API as far as tests need it."""
        return make_app(self)

    async def whole(self, api: Api, body: Body) -> Piece:
        """See the port."""
        form, answers, usage = self._begin(api, body)
        self._running += 1
        try:
            longest = max(len(answer.pieces) for answer in answers)
            await _until(time.monotonic() + self._first + (longest - 1) * self._step)
        finally:
            self._running -= 1
        if self._meter is not None:
            self._meter.first_token(self._first)
            self._meter.inter_token(self._step, usage.completion - len(answers))
            self._meter.tokens(*usage)
        choices = [
            {"index": index, "finish_reason": answer.finish_reason, "logprobs": None} | form.whole_choice(answer)
            for index, answer in enumerate(answers)
        ]
        whole = self._frame(form, form.whole_object) | {"choices": choices, "usage": _usage(usage)}
        typed = [(index, _text(answer), answer.finish_reason) for index, answer in enumerate(answers)]
        return Piece(_json(whole), typed, usage)

    async def stream(self, api: Api, body: Body) -> AsyncGenerator[Piece]:
        """See the port."""
        form, answers, usage = self._begin(api, body)
        frame = self._frame(form, form.part_object)
        self._running += 1
        try:
            started = last = time.monotonic()
            for position in range(max(len(answer.pieces) for answer in answers)):
                if not await _until(started + self._first + position * self._step):
                    await asyncio.sleep(0)  # others have their turn, even when no time is left between two words
                last = self._said_one(started, last, position)
                for index, answer in enumerate(answers):
                    if position < len(answer.pieces):
                        yield _part(frame, form, index, answer, position)
            for index, answer in enumerate(answers):
                yield _part(frame, form, index, answer, None)
        finally:
            self._running -= 1
        if self._meter is not None:
            self._meter.tokens(*usage)
        if (body.get("stream_options") or {}).get("include_usage"):
            yield Piece(_json(frame | {"choices": [], "usage": _usage(usage)}), (), usage)

    async def embed(self, body: Body) -> Vectors:
        """See the port."""
        self._admit(body)
        inputs = body.get("input")
        inputs = [inputs] if isinstance(inputs, str) else inputs
        if not isinstance(inputs, list) or not inputs:
            raise ApiError(ErrorReason.BAD_REQUEST, "input must be a text or a list with at least one", "input")
        if isinstance(inputs[0], int):
            inputs = [inputs]
        dimensions = body.get("dimensions") or DIMENSIONS
        if not isinstance(dimensions, int) or not 1 <= dimensions <= 4096:
            raise ApiError(ErrorReason.BAD_REQUEST, "dimensions must be a whole number from 1 to 4096", "dimensions")
        texts = [_plain(value) for value in inputs]
        usage = Usage(sum(len(text.split()) for text in texts), 0)
        if self._meter is not None:
            self._meter.tokens(*usage)
        rest = {"object": "list", "model": self._model, "usage": _usage(usage)}
        return Vectors(_json(rest), [vector(text, dimensions) for text in texts], usage)

    def models(self) -> Sequence[ModelCard]:
        """See the port."""
        return (ModelCard(self._model, None),)

    def busy(self) -> Load:
        """See the port."""
        return Load(cache_use=min(1.0, self._running / SEQUENCES))

    async def failed(self) -> Exception:
        """Never."""
        never: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        return await never

    async def stop(self) -> None:
        """Nothing was started."""

    def _begin(self, api: Api, body: Body) -> tuple[Form, list[Said], Usage]:
        self._admit(body)
        request = read_request(body, _chat_prompts(body) if api is Api.CHAT else _prompts(body))
        answers = request.answers(self._seed)
        return _FORMS[api], answers, request.usage(answers)

    def _admit(self, body: Body) -> None:
        if body.get("model", self._model) != self._model:
            message = f"The model `{body['model']}` does not exist; this replica serves `{self._model}`."
            raise ApiError(ErrorReason.UNKNOWN_MODEL, message, "model")
        if self._failure_rate and self._failures.random() < self._failure_rate:
            raise ApiError(ErrorReason.ENGINE_FAILED, "the dummy engine fails this request on purpose (failureRate)")

    def _frame(self, form: Form, kind: str) -> Body:
        self._requests += 1
        name = f"{form.prefix}-{self._seed}-{self._requests}"
        return {"id": name, "object": kind, "created": int(time.time()), "model": self._model}

    def _said_one(self, started: float, last: float, position: int) -> float:
        now = time.monotonic()
        if self._meter is not None:
            if position:
                self._meter.inter_token(now - last)
            else:
                self._meter.first_token(now - started)
        return now


async def _until(due: float) -> bool:
    """Whether there was time to sleep."""
    if (left := due - time.monotonic()) <= SHORTEST_SLEEP:
        return False
    await asyncio.sleep(left)
    return True


def _part(frame: Body, form: Form, index: int, answer: Said, position: int | None) -> Piece:
    """The word at that position; None: the end."""
    word = answer.pieces[position] if position is not None else ""
    reason = answer.finish_reason if position is None else None
    choice = {"index": index, "finish_reason": reason, "logprobs": None} | form.part_choice(word, position == 0, answer)
    return Piece(_json(frame | {"choices": [choice]}), ((index, "" if answer.tool else word, reason),), None)


def _message(answer: Said) -> Body:
    if answer.tool is None:
        return {"message": {"role": "assistant", "content": answer.text}}
    call = {"id": "call-0", "type": "function", "function": answer.tool}
    return {"message": {"role": "assistant", "content": None, "tool_calls": [call]}}


def _delta(word: str, first: bool, answer: Said) -> Body:
    delta: Body = {"role": "assistant"} if first else {}
    if answer.tool is None:
        delta["content"] = word
    elif first:
        delta["tool_calls"] = [{"index": 0, "id": "call-0", "type": "function", "function": answer.tool}]
    return {"delta": delta}


_FORMS = {
    Api.CHAT: Form("chatcmpl", "chat.completion", "chat.completion.chunk", _message, _delta),
    Api.COMPLETE: Form(
        "cmpl", "text_completion", "text_completion", lambda answer: {"text": answer.text}, lambda word, first, answer: {"text": word}
    ),
}


def _chat_prompts(body: Body) -> list[str]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError(ErrorReason.BAD_REQUEST, "messages must be a list with at least one message", "messages")
    if not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages):
        raise ApiError(ErrorReason.BAD_REQUEST, "each of messages must be an object with a role", "messages")
    return ["\n".join(f"{message['role']}: {_plain(message.get('content'))}" for message in messages)]


def _prompts(body: Body) -> list[str]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and prompt and all(isinstance(one, str) for one in prompt):
        return prompt
    if not isinstance(prompt, (str, list)):
        raise ApiError(ErrorReason.BAD_REQUEST, "prompt must be a text or a list", "prompt")
    return [_plain(prompt)]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _text(answer: Said) -> str:
    return "" if answer.tool else answer.text


def _usage(usage: Usage) -> Body:
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": usage.prompt + usage.completion}


def _json(value: Body) -> bytes:
    return json.dumps(value).encode()
