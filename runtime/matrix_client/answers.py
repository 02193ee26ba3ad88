"""What a chat gives back: the text for the hurry, the whole OpenAI answer for the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChatAnswer:
    """A whole answer."""

    text: str
    raw: dict[str, Any] = field(repr=False)
    """OpenAI's chat.completion object as it came."""
    seconds: float
    """From the request to the last byte, retries included."""

    @property
    def prompt_tokens(self) -> int:
        return int((self.raw.get("usage") or {}).get("prompt_tokens") or 0)

    @property
    def completion_tokens(self) -> int:
        return int((self.raw.get("usage") or {}).get("completion_tokens") or 0)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ChatDelta:
    """A piece of an answer that streams in."""

    text: str
    """"" for pieces that carry no text, such as the last one with the usage."""
    raw: dict[str, Any] = field(repr=False)
    """OpenAI's chat.completion.chunk object as it came."""

    def __str__(self) -> str:
        return self.text


def answer_text(raw: dict[str, Any]) -> str:
    """The first choice's text."""
    choices = raw.get("choices") or [{}]
    return str((choices[0].get("message") or {}).get("content") or "")


def delta_text(raw: dict[str, Any]) -> str:
    """The first choice's piece of text."""
    choices = raw.get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or "")
