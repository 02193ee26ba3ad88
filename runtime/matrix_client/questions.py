"""From what a caller passes to the messages of inference.proto. Pure.

What has a typed field goes there if its value fits; all else goes into extra_json as it was given, for the engine to judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from matrix_proto import inference_pb2 as pb

Messages = str | Sequence[Mapping[str, Any]]
"""One user message as text, or OpenAI's list of messages."""
Tokens = Sequence[int]
Prompt = str | Sequence[str] | Tokens | Sequence[Tokens]
Params = Mapping[str, Any]

_DOUBLES = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
_INTEGERS = {"max_tokens": 63, "seed": 63, "n": 31}
"""Bits of the magnitude."""


def chat(model: str, messages: Messages, stream: bool, params: Params) -> pb.ChatRequest:
    """`messages` are sent as they are. Raises TypeError for what is not JSON."""
    sampling, extra = _split(params)
    listed = [pb.Message(role="user", content=messages)] if isinstance(messages, str) else [_message(message) for message in messages]
    return pb.ChatRequest(model=model, messages=listed, sampling=sampling, stream=stream, extra_json=extra)


def complete(model: str, prompt: Prompt, stream: bool, params: Params) -> pb.CompleteRequest:
    """Raises TypeError for what is not JSON."""
    if not isinstance(prompt, str):
        params, prompt = {**params, "prompt": list(prompt)}, ""
    sampling, extra = _split(params)
    return pb.CompleteRequest(model=model, prompt=prompt, sampling=sampling, stream=stream, extra_json=extra)


def embed(model: str, input_: Prompt, params: Params) -> pb.EmbedRequest:
    """Raises TypeError for what is not JSON."""
    params = merged(params)
    texts = [input_] if isinstance(input_, str) else list(input_)
    if all(isinstance(text, str) for text in texts):
        return pb.EmbedRequest(model=model, input=texts, extra_json=_json(params))  # type: ignore[arg-type]
    return pb.EmbedRequest(model=model, extra_json=_json({**params, "input": texts}))


def merged(params: Params) -> Params:
    """With the members of `extra_body`, which win, as in the openai package."""
    extra_body = params.get("extra_body")
    if "extra_body" not in params:
        return params
    return {name: value for name, value in params.items() if name != "extra_body"} | dict(extra_body or {})


def _split(params: Params) -> tuple[pb.Sampling | None, bytes]:
    if not params:
        return None, b""
    typed: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in merged(params).items():
        fitting = _fitting(name, value)
        if fitting is None:
            extra[name] = value
        else:
            typed[name] = fitting
    return pb.Sampling(**typed), _json(extra)


def _fitting(name: str, value: Any) -> Any:
    """The value for the typed field of that name; None when there is no such field, or when it does not fit."""
    kind = type(value)  # not isinstance: True is no number here
    if name in _DOUBLES:
        return value if kind is float or kind is int else None
    if name in _INTEGERS:
        return value if kind is int and -(1 << _INTEGERS[name]) <= value < 1 << _INTEGERS[name] else None
    if name == "stop":
        listed = [value] if isinstance(value, str) else value
        return listed if isinstance(listed, (list, tuple)) and listed and all(isinstance(word, str) for word in listed) else None
    return None


def _message(message: Mapping[str, Any]) -> pb.Message:
    role, content = message.get("role"), message.get("content")
    if len(message) == 2 and isinstance(role, str) and isinstance(content, str):
        return pb.Message(role=role, content=content)
    text = content if isinstance(content, str) else None
    return pb.Message(role=role if isinstance(role, str) else "", content=text, json=_json(message))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() if value else b""
