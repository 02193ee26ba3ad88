"""What a caller passes, as messages of inference.proto: what fits a typed field goes there, and nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from matrix_client import questions
from matrix_proto import inference_pb2 as pb

CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("zeroes", {"temperature": 0, "seed": 0, "max_tokens": 0}, {"temperature": 0.0, "seed": 0, "max_tokens": 0}, {}),
    (
        "floats",
        {"top_p": 0.9, "presence_penalty": -1, "frequency_penalty": 0.5},
        {"top_p": 0.9, "presence_penalty": -1.0, "frequency_penalty": 0.5},
        {},
    ),
    ("n", {"n": 2}, {"n": 2}, {}),
    ("one stop", {"stop": "\n"}, {"stop": ["\n"]}, {}),
    ("stops", {"stop": ["a", "b"]}, {"stop": ["a", "b"]}, {}),
    ("others", {"tools": [], "top_k": 5, "logprobs": True}, {}, {"tools": [], "top_k": 5, "logprobs": True}),
    ("None is null", {"temperature": None, "stop": None}, {}, {"temperature": None, "stop": None}),
    (
        "what does not fit is for the engine to judge",
        {"temperature": "hot", "seed": 1.5, "n": True},
        {},
        {"temperature": "hot", "seed": 1.5, "n": True},
    ),
    ("too large", {"seed": 2**63, "n": 2**31}, {}, {"seed": 2**63, "n": 2**31}),
    ("the largest", {"seed": -(2**63), "n": 2**31 - 1}, {"seed": -(2**63), "n": 2**31 - 1}, {}),
    ("odd stops", {"stop": [1]}, {}, {"stop": [1]}),
    ("extra_body wins", {"temperature": 1, "extra_body": {"temperature": 0, "min_p": 0.1}}, {"temperature": 0.0}, {"min_p": 0.1}),
    ("extra_body of None", {"extra_body": None, "seed": 1}, {"seed": 1}, {}),
    ("not ASCII", {"user": "Žofie"}, {}, {"user": "Žofie"}),
]


def typed(sampling: pb.Sampling) -> dict[str, Any]:
    return {field.name: list(value) if field.name == "stop" else value for field, value in sampling.ListFields()}


@pytest.mark.parametrize(("params", "sampling", "extra"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_params(params: dict[str, Any], sampling: dict[str, Any], extra: dict[str, Any]) -> None:
    for request in (questions.chat("m", "hello", False, params), questions.complete("m", "hello", False, params)):
        assert typed(request.sampling) == sampling
        assert json.loads(request.extra_json or b"{}") == extra


MESSAGES: list[tuple[Any, list[pb.Message]]] = [
    ("hello", [pb.Message(role="user", content="hello")]),
    ([{"role": "system", "content": ""}], [pb.Message(role="system", content="")]),
    (
        [{"role": "user", "content": "x", "name": "n"}],
        [pb.Message(role="user", content="x", json=b'{"role": "user", "content": "x", "name": "n"}')],
    ),
    ([{"role": "user", "content": []}], [pb.Message(role="user", json=b'{"role": "user", "content": []}')]),
    ([{"content": 5}], [pb.Message(json=b'{"content": 5}')]),
    ([], []),
]


@pytest.mark.parametrize(("given", "sent"), MESSAGES)
def test_messages(given: Any, sent: list[pb.Message]) -> None:
    request = questions.chat("m", given, True, {})

    assert list(request.messages) == sent
    assert (request.model, request.stream, request.HasField("sampling"), request.extra_json) == ("m", True, False, b"")


PROMPTS: list[tuple[Any, str, dict[str, Any]]] = [
    ("once", "once", {}),
    (["a", "b"], "", {"prompt": ["a", "b"]}),
    ([1, 2], "", {"prompt": [1, 2]}),
]


@pytest.mark.parametrize(("given", "prompt", "extra"), PROMPTS)
def test_prompts(given: Any, prompt: str, extra: dict[str, Any]) -> None:
    request = questions.complete("m", given, False, {})

    assert (request.prompt, json.loads(request.extra_json or b"{}")) == (prompt, extra)


INPUTS: list[tuple[Any, list[str], dict[str, Any]]] = [
    ("a", ["a"], {"dimensions": 3}),
    (["a", "b"], ["a", "b"], {"dimensions": 3}),
    ([1, 2], [], {"dimensions": 3, "input": [1, 2]}),
    ([[1], [2]], [], {"dimensions": 3, "input": [[1], [2]]}),
]


@pytest.mark.parametrize(("given", "texts", "extra"), INPUTS)
def test_inputs(given: Any, texts: list[str], extra: dict[str, Any]) -> None:
    request = questions.embed("m", given, {"dimensions": 3})

    assert (list(request.input), json.loads(request.extra_json)) == (texts, extra)


def test_what_is_no_json_is_told() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        questions.chat("m", "hello", False, {"tools": object()})
