"""vLLM's own OpenAI handlers, called in process: as its HTTP routes call them, without HTTP. Import paths are those of 0.32."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse

from matrix_proto.errors import ErrorReason
from matrix_runtime.engines.port import Api, Body, ModelCard, Piece, Usage, Vectors
from matrix_runtime.engines.words import ENGINE_DIED, reason_of
from matrix_runtime.errors import ApiError

_EMBEDDING: TypeAdapter[Any] = TypeAdapter(EmbeddingRequest)
_DONE = "[DONE]"
_DEAD = "EngineCore encountered an issue"
"""What vLLM's EngineDeadError says."""


class VllmOpenAi:
    """`state`: what vLLM's init_app_state has filled."""

    def __init__(self, state: Any) -> None:
        self._state = state

    async def whole(self, api: Api, body: Body) -> Piece:
        """See the port."""
        answer = await self._call(api, body)
        texts = [choice.message.content or "" if api is Api.CHAT else choice.text for choice in answer.choices]
        choices = [(choice.index, text, choice.finish_reason) for choice, text in zip(answer.choices, texts, strict=True)]
        return Piece(answer.model_dump_json().encode(), choices, Usage(answer.usage.prompt_tokens, answer.usage.completion_tokens or 0))

    async def stream(self, api: Api, body: Body) -> AsyncGenerator[Piece]:
        """See the port."""
        events = await self._call(api, body)
        try:
            async for event in events:
                text = event.removeprefix("data: ").rstrip()
                if text != _DONE:
                    yield _piece(api, text)
        finally:
            await events.aclose()

    async def embed(self, body: Body) -> Vectors:
        """See the port. The vectors are asked for as base64: JSON's numbers would take far longer to read."""
        handler = getattr(self._state, "serving_embedding", None)
        if handler is None:
            raise ApiError(ErrorReason.NOT_OFFERED, "the model gives no embeddings: it generates text")
        request = _validated(_EMBEDDING.validate_python, body | {"encoding_format": "base64"})
        try:
            answer = json.loads((await handler(request)).body)
        except Exception as error:
            _raise(create_error_response(error))
        data = answer.pop("data")
        values = [array("f", base64.b64decode(item["embedding"])) for item in data]
        usage = answer.get("usage") or {}
        return Vectors(json.dumps(answer).encode(), values, Usage(usage.get("prompt_tokens", 0), 0))

    def models(self) -> Sequence[ModelCard]:
        """See the port: the model, and its adapters."""
        served = self._state.openai_serving_models
        names = [*(path.name for path in served.base_model_paths), *served.lora_requests]
        return [ModelCard(name, served.model_config.max_model_len) for name in names]

    async def _call(self, api: Api, body: Body) -> Any:
        chat = api is Api.CHAT
        handler = getattr(self._state, "openai_serving_chat" if chat else "openai_serving_completion", None)
        if handler is None:
            raise ApiError(ErrorReason.NOT_OFFERED, "the model generates no text: it is a model for embeddings or scores")
        request = _validated((ChatCompletionRequest if chat else CompletionRequest).model_validate, body)
        try:
            answer = await (handler.create_chat_completion(request) if chat else handler.create_completion(request))
        except Exception as error:
            _raise(create_error_response(error))
        if isinstance(answer, ErrorResponse):
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # vLLM has swallowed it
            _raise(answer)
        return answer


def _piece(api: Api, text: str) -> Piece:
    event = json.loads(text)
    if "error" in event:
        _raise(ErrorResponse.model_validate(event))
    choices = [
        (choice["index"], (choice.get("delta", {}).get("content") if api is Api.CHAT else choice["text"]) or "", choice["finish_reason"])
        for choice in event["choices"]
    ]
    usage = event.get("usage")
    return Piece(text.encode(), choices, Usage(usage["prompt_tokens"], usage.get("completion_tokens") or 0) if usage else None)


def _validated(validate: Any, body: Body) -> Any:
    try:
        return validate(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [".".join(map(str, problem["loc"])) for problem in problems]
        told = "; ".join(f"{field}: {problem['msg']}" if field else problem["msg"] for field, problem in zip(fields, problems, strict=True))
        raise ApiError(ErrorReason.BAD_REQUEST, told, fields[0] or None) from error
    except Exception as error:
        _raise(create_error_response(error))


def _raise(response: ErrorResponse) -> NoReturn:
    error = response.error
    if error.message.startswith(_DEAD):
        raise ENGINE_DIED
    raise ApiError(reason_of(error.code, error.message), error.message, error.param)
