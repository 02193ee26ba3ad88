"""From a request of inference.proto to OpenAI's request object, and from an engine's answer back: pure functions."""

from __future__ import annotations

import json
from typing import Any

from matrix_proto.errors import ErrorReason
from matrix_proto.inference_pb2 import (
    ChatReply,
    ChatRequest,
    CompleteReply,
    CompleteRequest,
    Embedding,
    EmbedReply,
    EmbedRequest,
    Message,
    Sampling,
)
from matrix_proto.inference_pb2 import Choice as ChoiceReply
from matrix_proto.inference_pb2 import Usage as UsageReply
from matrix_runtime.engines.port import Body, Piece, Usage, Vectors
from matrix_runtime.errors import ApiError


def chat_body(request: ChatRequest) -> Body:
    """Raises ApiError: JSON that is none, or that contradicts a typed field."""
    body: Body = {"model": request.model} if request.model else {}
    if messages := request.messages:
        body["messages"] = [_message(message) for message in messages]
    return _completed(body, request)


def complete_body(request: CompleteRequest) -> Body:
    """As chat_body."""
    body: Body = {"model": request.model} if request.model else {}
    if request.prompt:
        body["prompt"] = request.prompt
    return _completed(body, request)


def embed_body(request: EmbedRequest) -> Body:
    """As chat_body."""
    body: Body = {"model": request.model} if request.model else {}
    if request.input:
        body["input"] = list(request.input)
    return _merged(body, request.extra_json) if request.extra_json else body


def chat_reply(piece: Piece) -> ChatReply:
    """`json` as the engine wrote it, and the typed fields beside it."""
    return ChatReply(choices=_choices(piece), usage=_usage(piece.usage), json=piece.json)


def complete_reply(piece: Piece) -> CompleteReply:
    """As chat_reply."""
    return CompleteReply(choices=_choices(piece), usage=_usage(piece.usage), json=piece.json)


def embed_reply(vectors: Vectors) -> EmbedReply:
    """One embedding for each input."""
    embeddings = [Embedding(index=index, values=values) for index, values in enumerate(vectors.values)]
    return EmbedReply(embeddings=embeddings, usage=_usage(vectors.usage), json=vectors.json)


def _completed(body: Body, request: ChatRequest | CompleteRequest) -> Body:
    if request.HasField("sampling"):
        _add_sampling(body, request.sampling)
    body["stream"] = request.stream
    return _merged(body, request.extra_json) if request.extra_json else body


def _add_sampling(body: Body, sampling: Sampling) -> None:
    # ListFields gives the scalars that were set, zeros among them, and no empty list.
    for field, value in sampling.ListFields():
        body[field.name] = list(value) if field.name == "stop" else value


def _message(message: Message) -> Body:
    if message.json:
        return _object(message.json, "messages[].json")
    return {"role": message.role, "content": message.content} if message.HasField("content") else {"role": message.role}


def _merged(body: Body, extra_json: bytes) -> Body:
    extra = _object(extra_json, "extra_json")
    for name in extra.keys() & body.keys():
        if extra[name] != body[name]:
            raise ApiError(ErrorReason.BAD_REQUEST, f"{name} is set to one value by its field and to another by extra_json", name)
    return extra | body


def _object(text: bytes, field: str) -> Body:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(ErrorReason.BAD_REQUEST, f"{field} is not JSON: {error}", field) from error
    if not isinstance(value, dict):
        raise ApiError(ErrorReason.BAD_REQUEST, f"{field} must be a JSON object", field)
    return value


def _choices(piece: Piece) -> list[ChoiceReply]:
    return [ChoiceReply(index=index, text=text, finish_reason=reason) for index, text, reason in piece.choices]


def _usage(usage: Usage | None) -> UsageReply | None:
    return UsageReply(prompt_tokens=usage.prompt, completion_tokens=usage.completion) if usage is not None else None
