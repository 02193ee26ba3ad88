"""The dummy engine over HTTP: OpenAI's API as far as tests need it."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from matrix_proto.errors import ErrorReason
from matrix_runtime.auth import error_body
from matrix_runtime.engines.port import HEALTH_PATH, Api, Body, Engine, Piece
from matrix_runtime.errors import ApiError


def make_app(engine: Engine) -> Starlette:
    """The app."""

    async def models(request: Request) -> Response:
        cards = [{"id": card.id, "object": "model", "created": 0, "owned_by": "matrix"} for card in engine.models()]
        return JSONResponse({"object": "list", "data": cards})

    async def embed(request: Request) -> Response:
        body = await _body(request)
        vectors = await engine.embed(body)
        encode = _base64 if body.get("encoding_format") == "base64" else list
        data = [{"object": "embedding", "index": index, "embedding": encode(values)} for index, values in enumerate(vectors.values)]
        return JSONResponse(json.loads(vectors.json) | {"data": data})

    return Starlette(
        routes=[
            Route(HEALTH_PATH, _health),
            Route("/v1/models", models),
            Route("/v1/chat/completions", _generating(engine, Api.CHAT), methods=["POST"]),
            Route("/v1/completions", _generating(engine, Api.COMPLETE), methods=["POST"]),
            Route("/v1/embeddings", embed, methods=["POST"]),
        ],
        exception_handlers={ApiError: _refusal},
    )


def _generating(engine: Engine, api: Api) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        body = await _body(request)
        if not body.get("stream"):
            return Response((await engine.whole(api, body)).json, media_type="application/json")
        pieces = engine.stream(api, body)
        first = await anext(pieces)  # a refusal comes before the stream begins
        return StreamingResponse(_events(first, pieces), media_type="text/event-stream")

    return answer


async def _events(first: Piece, pieces: AsyncGenerator[Piece]) -> AsyncIterator[bytes]:
    async with aclosing(pieces):
        yield b"data: %b\n\n" % first.json
        async for piece in pieces:
            yield b"data: %b\n\n" % piece.json
    yield b"data: [DONE]\n\n"


async def _body(request: Request) -> Body:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ApiError(ErrorReason.BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(ErrorReason.BAD_REQUEST, "the body must be a JSON object")
    return body


async def _health(request: Request) -> Response:
    return Response()


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    status = error.reason.http_status
    return JSONResponse(error_body(error.message, status, error.param), status)


def _base64(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
