"""What the dummy engine says: pure functions of the request and the engine's seed.

A word counts as a token. The same seed and the same prompt give the same text.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matrix_proto.errors import ErrorReason
from matrix_runtime.engines.port import Body, Usage
from matrix_runtime.errors import ApiError

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
"""Sixteen: four bits of a hash choose one."""
SHORTEST, LONGEST = 8, 48
"""Words of an answer that ends by itself."""
MOST_WORDS = 100_000
DIMENSIONS = 64
_WORD = re.compile(r"\s*\S+")


@dataclass(frozen=True, slots=True)
class Said:
    """One of the answers."""

    pieces: Sequence[str]
    """The text's words with their leading spaces."""
    finish_reason: str
    tool: Body | None = None
    """The function that is called instead of a text."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Request:
    """What the dummy engine looks at in OpenAI's request object."""

    prompts: Sequence[str]
    count: int
    limit: int | None
    """Of words; None: the answer ends by itself."""
    exact: bool
    """The answer has as many words as the limit allows (vLLM's ignore_eos)."""
    stops: Sequence[str]
    seed: int | None
    shape: Body | None
    """A JSON schema for the answer."""
    tool: Body | None
    """A function to call instead of answering."""

    def answers(self, engine_seed: int) -> list[Said]:
        """One for each prompt and each of `n`."""
        return [self._answer(f"{engine_seed}:{self.seed}:{index}:{prompt}") for prompt in self.prompts for index in range(self.count)]

    def usage(self, answers: Sequence[Said]) -> Usage:
        """Words read and written."""
        return Usage(sum(len(prompt.split()) for prompt in self.prompts), sum(len(answer.pieces) for answer in answers))

    def _answer(self, key: str) -> Said:
        if self.tool is not None:
            arguments = json.dumps(example(self.tool.get("parameters") or {}))
            return Said((arguments,), "tool_calls", {"name": self.tool["name"], "arguments": arguments})
        if self.shape is not None:
            return Said(_WORD.findall(json.dumps(example(self.shape))), "stop")
        pieces, finished = babble(key, self.limit, self.exact)
        return _stopped(pieces, self.stops) or Said(pieces, "stop" if finished else "length")


def read_request(body: Body, prompts: Sequence[str]) -> Request:
    """Raises ApiError for what a real engine would refuse."""
    limit = body.get("max_completion_tokens")
    limit = body.get("max_tokens") if limit is None else limit
    stop = body.get("stop") or ()
    seed = body.get("seed")
    return Request(
        prompts=prompts,
        count=_whole(body.get("n", 1), "n", 1, 128) or 1,
        limit=_whole(limit, "max_tokens", 1, MOST_WORDS),
        exact=bool(body.get("ignore_eos")),
        stops=(stop,) if isinstance(stop, str) else tuple(map(str, stop)),
        seed=seed if isinstance(seed, int) else None,
        shape=_shape(body["response_format"]) if body.get("response_format") else None,
        tool=_tool(body) if body.get("tools") else None,
    )


def babble(key: str, limit: int | None, exact: bool = False) -> tuple[Sequence[str], bool]:
    """Words that depend on `key` alone, with their leading spaces, and whether they ended by themselves."""
    length = SHORTEST + hashlib.blake2b(key.encode(), digest_size=2).digest()[0] % (LONGEST - SHORTEST + 1)
    count = limit if limit is not None and (exact or limit < length) else length
    dice = hashlib.shake_128(key.encode()).digest(count)
    words = [_SPACED[byte & 15] for byte in dice]
    words[0] = words[0][1:]
    return words, count == length and not exact


_SPACED = tuple(f" {word}" for word in WORDS)


def vector(text: str, dimensions: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    raw = hashlib.shake_128(text.encode()).digest(dimensions * 2)
    values = [int.from_bytes(raw[at : at + 2], "big") / 32767.5 - 1 for at in range(0, len(raw), 2)]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def example(schema: Body) -> Any:
    """Something that fits a JSON schema, as far as tests need it."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: example(part) for name, part in (schema.get("properties") or {}).items()}
        case "array":
            return [example(schema.get("items") or {})]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "fox"


def _stopped(pieces: Sequence[str], stops: Sequence[str]) -> Said | None:
    text = "".join(pieces) if stops else ""
    places = [at for stop in stops if (at := text.find(stop)) >= 0]
    return Said(_WORD.findall(text[: min(places)]), "stop") if places else None


def _shape(response_format: Any) -> Body | None:
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "json_object":
        return {"type": "object", "properties": {"text": {}}}
    if kind == "json_schema":
        schema = (response_format.get("json_schema") or {}).get("schema")
        if not isinstance(schema, dict):
            raise ApiError(ErrorReason.BAD_REQUEST, "response_format.json_schema.schema must be a JSON object", "response_format")
        return schema
    if kind != "text":
        raise ApiError(ErrorReason.BAD_REQUEST, "response_format.type must be text, json_object or json_schema", "response_format")
    return None


def _tool(body: Body) -> Body | None:
    choice = body.get("tool_choice", "auto")
    functions = [tool.get("function", {}) for tool in body["tools"] if isinstance(tool, dict)]
    if choice in ("auto", "none"):
        return None
    wanted = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    for function in functions:
        if "name" in function and wanted in (None, function["name"]):
            return dict(function)
    raise ApiError(ErrorReason.BAD_REQUEST, f"tool_choice names no tool of this request: {choice}", "tool_choice")


def _whole(value: Any, name: str, least: int, most: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ApiError(ErrorReason.BAD_REQUEST, f"{name} must be a whole number from {least} to {most}", name)
    return value
