"""Chat, completion and embedding: from what the caller gave to what he gets."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from matrix_client import questions
from matrix_client.answers import ChatAnswer, ChatDelta, CompleteAnswer, CompleteDelta, EmbedAnswer
from matrix_client.attempts import Attempts, OnWait
from matrix_client.context import Context
from matrix_client.inference import pieces, whole
from matrix_client.questions import Messages, Params, Prompt
from matrix_client.routes import Routes

Seconds = float | None


class Requests:
    """All requests of one client. `timeout` and `patience` as in AsyncMatrix.chat."""

    def __init__(self, context: Context, namespace: str, on_wait: OnWait) -> None:
        self._routes = Routes(context, namespace)
        self._on_wait = on_wait

    async def chat(self, model: str, messages: Messages, timeout: Seconds, patience: float, params: Params) -> ChatAnswer:
        attempts = self._attempts(model, timeout, patience)
        reply = await whole(attempts, "chat", lambda name: questions.chat(name, messages, False, params))
        return ChatAnswer(reply, time.monotonic() - attempts.begun)

    def chat_stream(
        self, model: str, messages: Messages, timeout: Seconds, patience: float, params: Params
    ) -> AsyncGenerator[ChatDelta, None]:
        attempts = self._attempts(model, timeout, patience)
        return pieces(attempts, "chat_stream", lambda name: questions.chat(name, messages, True, params), ChatDelta, timeout)

    async def complete(self, model: str, prompt: Prompt, timeout: Seconds, patience: float, params: Params) -> CompleteAnswer:
        attempts = self._attempts(model, timeout, patience)
        reply = await whole(attempts, "complete", lambda name: questions.complete(name, prompt, False, params))
        return CompleteAnswer(reply, time.monotonic() - attempts.begun)

    def complete_stream(
        self, model: str, prompt: Prompt, timeout: Seconds, patience: float, params: Params
    ) -> AsyncGenerator[CompleteDelta, None]:
        attempts = self._attempts(model, timeout, patience)
        return pieces(attempts, "complete_stream", lambda name: questions.complete(name, prompt, True, params), CompleteDelta, timeout)

    async def embed(self, model: str, input_: Prompt, timeout: Seconds, patience: float, params: Params) -> EmbedAnswer:
        attempts = self._attempts(model, timeout, patience)
        reply = await whole(attempts, "embed", lambda name: questions.embed(name, input_, params))
        return EmbedAnswer(reply, time.monotonic() - attempts.begun)

    def _attempts(self, model: str, timeout: Seconds, patience: float) -> Attempts:
        return Attempts(self._routes, model, timeout, patience, self._on_wait)

    async def close(self) -> None:
        await self._routes.close()
