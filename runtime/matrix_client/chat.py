"""Chat with a model: straight to a replica, tried again on another address until one takes the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from matrix_client.answers import ChatAnswer, ChatDelta, answer_text, delta_text
from matrix_client.endpoints import Target
from matrix_client.http import Http, NotConnected

Messages = str | Sequence[dict[str, Any]]
"""One user message as text, or OpenAI's list of messages."""
Locate = Callable[[], Awaitable[Target]]

CONNECT_DEADLINE_SECONDS = 15.0
"""The status follows a lost replica within seconds."""
PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class Question:
    """What is asked, and how long to wait."""

    messages: Messages
    params: dict[str, Any]
    """OpenAI's."""
    timeout: float
    """Seconds for each wait for the replica."""
    patience: float = CONNECT_DEADLINE_SECONDS
    """Seconds to look for a replica that takes the request."""


async def complete(http: Http, locate: Locate, question: Question) -> ChatAnswer:
    """The whole answer. Raises NotReady, Unreachable, RequestTimeout, Refused."""
    begun, attempt = time.monotonic(), 0
    while True:
        target = await locate()
        try:
            raw = await http.post(_url(target, attempt), target.token, _body(target, question), question.timeout)
        except NotConnected as error:
            await _pause_or_raise(error, begun + question.patience)
            attempt += 1
        else:
            return ChatAnswer(answer_text(raw), raw, time.monotonic() - begun)


async def stream(http: Http, locate: Locate, question: Question) -> AsyncIterator[ChatDelta]:
    """The answer piece by piece; tried elsewhere only as long as no piece has come. Raises as `complete` does."""
    begun, attempt = time.monotonic(), 0
    while True:
        target = await locate()
        try:
            body = _body(target, question) | {"stream": True}
            async with aclosing(http.stream(_url(target, attempt), target.token, body, question.timeout)) as pieces:
                async for raw in pieces:
                    yield ChatDelta(delta_text(raw), raw)
        except NotConnected as error:
            await _pause_or_raise(error, begun + question.patience)
            attempt += 1
        else:
            return


def _url(target: Target, attempt: int) -> str:
    return f"{target.urls[attempt % len(target.urls)]}/chat/completions"


async def _pause_or_raise(error: NotConnected, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise error
    await asyncio.sleep(PAUSE_SECONDS)


def _body(target: Target, question: Question) -> dict[str, Any]:
    messages = question.messages
    listed = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    return {"model": target.served_name, "messages": listed} | question.params
