"""The dummy engine: a TEST engine. It speaks OpenAI's API and says deterministic nonsense at a chosen speed, failing at a chosen rate.

The same seed and the same prompt give the same text. A word counts as a token. No model is loaded.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from matrix_crds.deployment import DummyEngine
from matrix_runtime.auth import error_body

WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "brew",
    "strong",
    "tea",
    "slowly",
)
LONGEST = 48
"""Words of an answer whose length the caller does not limit: 8 to this many."""

Json = dict[str, Any]


class BadRequest(Exception):
    """The caller's mistake."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What will be said to one request."""

    id: str
    created: int
    model: str
    words: tuple[str, ...]
    prompt_tokens: int
    finish_reason: str

    def usage(self) -> Json:
        total = self.prompt_tokens + len(self.words)
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": len(self.words), "total_tokens": total}

    def pieces(self) -> list[str]:
        """The words with their leading spaces, as they are streamed."""
        return [word if position == 0 else f" {word}" for position, word in enumerate(self.words)]


class DummyAdapter:
    """The port `Engine`, without an engine."""

    def __init__(self, engine: DummyEngine, served_name: str) -> None:
        self._engine = engine
        self._model = served_name
        self._failures = random.Random(engine.seed)
        self._requests = 0

    def prepare(self) -> None:
        """Nothing to check: the manifest's own rules have."""

    async def load(self, model: Path | None) -> None:
        """Nothing to load."""

    def app(self) -> ASGIApp:
        """OpenAI's API as far as tests need it."""
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._complete, methods=["POST"]),
            ],
            exception_handlers={BadRequest: _bad_request},
        )

    async def check_health(self) -> None:
        """Always well."""

    async def stop(self) -> None:
        """Nothing was started."""

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": self._model, "object": "model", "created": 0, "owned_by": "matrix"}]})

    async def _chat(self, request: Request) -> Response:
        body = await _body(request)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages must be a list with at least one message")
        return await self._respond(body, _text(messages), _CHAT)

    async def _complete(self, request: Request) -> Response:
        body = await _body(request)
        if not isinstance(body.get("prompt"), (str, list)):
            raise BadRequest("prompt must be a text or a list")
        return await self._respond(body, _text(body["prompt"]), _COMPLETION)

    async def _respond(self, body: Json, prompt: str, form: Form) -> Response:
        if body.get("model", self._model) != self._model:
            raise BadRequest(f"The model `{body['model']}` does not exist; this replica serves `{self._model}`.", 404)
        if self._failures.random() < float(self._engine.failure_rate):
            return JSONResponse(error_body("the dummy engine fails this request on purpose (failureRate)", 500), 500)
        answer = self._answer(body, prompt, form)
        if body.get("stream"):
            include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return StreamingResponse(self._stream(answer, form, include_usage), media_type="text/event-stream")
        await self._say(len(answer.words))
        return JSONResponse(form.whole(answer))

    def _answer(self, body: Json, prompt: str, form: Form) -> Answer:
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise BadRequest("max_tokens must be a whole number of at least 1")
        words = babble(self._engine.seed, prompt, limit or LONGEST)
        self._requests += 1
        return Answer(
            id=f"{form.prefix}-{self._engine.seed}-{self._requests}",
            created=int(time.time()),
            model=self._model,
            words=words,
            prompt_tokens=len(prompt.split()),
            finish_reason="length" if limit == len(words) else "stop",
        )

    async def _stream(self, answer: Answer, form: Form, include_usage: bool) -> AsyncIterator[str]:
        started = time.monotonic()
        for position, piece in enumerate(answer.pieces()):
            await asyncio.sleep(max(0.0, started + self._due(position) - time.monotonic()))
            yield _event(form.part(answer, piece, position == 0, None))
        yield _event(form.part(answer, "", False, answer.finish_reason))
        if include_usage:
            yield _event(form.frame(answer, form.part_object) | {"choices": [], "usage": answer.usage()})
        yield "data: [DONE]\n\n"

    async def _say(self, words: int) -> None:
        await asyncio.sleep(self._due(words - 1))

    def _due(self, position: int) -> float:
        """Seconds from the request to the word at that position."""
        return float(self._engine.first_token_seconds) + position / self._engine.tokens_per_second


@dataclass(frozen=True)
class Form:
    """What sets chat and completion apart on the wire."""

    prefix: str
    whole_object: str
    part_object: str
    whole_choice: Callable[[str], Json]
    part_choice: Callable[[str, bool], Json]

    def whole(self, answer: Answer) -> Json:
        """The body of an answer that is not streamed."""
        choice = {"index": 0, "finish_reason": answer.finish_reason, "logprobs": None} | self.whole_choice(" ".join(answer.words))
        return self.frame(answer, self.whole_object) | {"choices": [choice], "usage": answer.usage()}

    def part(self, answer: Answer, piece: str, first: bool, finish_reason: str | None) -> Json:
        """One event of a stream."""
        choice = {"index": 0, "finish_reason": finish_reason, "logprobs": None} | self.part_choice(piece, first)
        return self.frame(answer, self.part_object) | {"choices": [choice]}

    def frame(self, answer: Answer, kind: str) -> Json:
        """What every body and event begins with."""
        return {"id": answer.id, "object": kind, "created": answer.created, "model": answer.model}


def _delta(piece: str, first: bool) -> Json:
    return {"delta": ({"role": "assistant"} if first else {}) | {"content": piece}}


_CHAT = Form(
    "chatcmpl", "chat.completion", "chat.completion.chunk", lambda text: {"message": {"role": "assistant", "content": text}}, _delta
)
_COMPLETION = Form("cmpl", "text_completion", "text_completion", lambda text: {"text": text}, lambda piece, first: {"text": piece})


def babble(seed: int, prompt: str, limit: int) -> tuple[str, ...]:
    """At most `limit` words that depend on seed and prompt alone."""
    dice = random.Random(hashlib.sha256(f"{seed}:{prompt}".encode()).digest())
    return tuple(dice.choice(WORDS) for _ in range(min(limit, dice.randint(8, LONGEST))))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


async def _body(request: Request) -> Json:
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _event(data: Json) -> str:
    return f"data: {json.dumps(data)}\n\n"


async def _bad_request(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, BadRequest) else 400
    return JSONResponse(error_body(str(error), status), status)
