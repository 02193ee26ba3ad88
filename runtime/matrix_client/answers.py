"""What a model gives back: the text for the hurry, the whole OpenAI answer for the rest. The JSON is read when it is asked for."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrix_proto import inference_pb2 as pb

    Reply = pb.ChatReply | pb.CompleteReply


class Usage(NamedTuple):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int


class _Answered:
    """What is common to a whole answer and a piece of one."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    @property
    def text(self) -> str:
        """The first choice's text; "" for an answer that carries none (tool calls, or a last piece with just the usage)."""
        choices: Sequence[pb.Choice] = self._reply.choices
        return choices[0].text if choices else ""

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended (OpenAI's: stop, length, tool_calls, ...); None when it goes on."""
        choices: Sequence[pb.Choice] = self._reply.choices
        return choices[0].finish_reason if choices and choices[0].HasField("finish_reason") else None

    @property
    def usage(self) -> Usage | None:
        """How many tokens, where it is told: in a stream in its last piece, and only if stream_options ask for it."""
        return _usage(self._reply)

    @cached_property
    def raw(self) -> dict[str, Any]:
        """OpenAI's object as the engine wrote it."""
        return _object(self._reply.json)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, finish_reason={self.finish_reason!r}, usage={self.usage})"


class _Whole(_Answered):
    def __init__(self, reply: Reply, seconds: float) -> None:
        super().__init__(reply)
        self.seconds = seconds
        """From the request to the answer, retries included."""

    @property
    def prompt_tokens(self) -> int:
        """0 when it is not told."""
        return self._reply.usage.prompt_tokens

    @property
    def completion_tokens(self) -> int:
        """0 when it is not told."""
        return self._reply.usage.completion_tokens


class ChatAnswer(_Whole):
    """A whole answer. `raw` is a chat.completion."""


class CompleteAnswer(_Whole):
    """A whole completion. `raw` is a text_completion."""


class ChatDelta(_Answered):
    """A piece of an answer that streams in. `raw` is a chat.completion.chunk."""


class CompleteDelta(_Answered):
    """A piece of a completion that streams in. `raw` is a text_completion."""


class EmbedAnswer:
    """Embeddings, in the order of the input."""

    def __init__(self, reply: pb.EmbedReply, seconds: float) -> None:
        self._reply = reply
        self.seconds = seconds
        """From the request to the answer, retries included."""

    @cached_property
    def vectors(self) -> list[list[float]]:
        """One for each input."""
        return [list(embedding.values) for embedding in sorted(self._reply.embeddings, key=lambda embedding: embedding.index)]

    @property
    def usage(self) -> Usage | None:
        return _usage(self._reply)

    @cached_property
    def raw(self) -> dict[str, Any]:
        """OpenAI's list of embeddings."""
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(self.vectors)]
        return _object(self._reply.json) | {"data": data}

    def __repr__(self) -> str:
        return f"EmbedAnswer({len(self._reply.embeddings)} vectors, usage={self.usage})"


def _usage(reply: Reply | pb.EmbedReply) -> Usage | None:
    return Usage(reply.usage.prompt_tokens, reply.usage.completion_tokens) if reply.HasField("usage") else None


def _object(text: bytes) -> dict[str, Any]:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
