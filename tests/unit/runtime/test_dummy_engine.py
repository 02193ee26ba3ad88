from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest
from httpx2 import ASGITransport

from matrix_crds.deployment import DummyEngine
from matrix_runtime.engines.dummy import DummyAdapter
from matrix_runtime.engines.dummy_answers import babble

FAST = DummyEngine(tokens_per_second=1_000_000, first_token_seconds="0")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello there you"}]}


def post(path: str, body: object, engine: DummyEngine = FAST, times: int = 1) -> list[httpx2.Response]:
    async def run() -> list[httpx2.Response]:
        transport = ASGITransport(app=DummyAdapter(engine, "m").app(), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://dummy") as http:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return [await http.post(path, content=content) for _ in range(times)]

    return asyncio.run(run())


def events(answer: httpx2.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_the_same_seed_and_prompt_give_the_same_text_and_another_seed_another() -> None:
    first, second = (answer.json()["choices"][0]["message"]["content"] for answer in post("/v1/chat/completions", CHAT, times=2))
    assert first == second
    other = post("/v1/chat/completions", CHAT, FAST.model_copy(update={"seed": 2}))[0].json()["choices"][0]["message"]["content"]
    assert other != first


def test_usage_counts_words() -> None:
    body = post("/v1/completions", {"model": "m", "prompt": "one two three", "max_tokens": 5})[0].json()
    assert len(body["choices"][0]["text"].split()) == 5
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    assert body["choices"][0]["finish_reason"] == "length"


def test_an_answer_that_is_not_limited_ends_by_itself() -> None:
    body = post("/v1/completions", {"prompt": "one two three"})[0].json()
    assert 8 <= body["usage"]["completion_tokens"] <= 48
    assert body["choices"][0]["finish_reason"] == "stop"


def test_a_stream_adds_up_to_the_answer() -> None:
    whole = post("/v1/chat/completions", CHAT)[0].json()
    parts = events(post("/v1/chat/completions", CHAT | {"stream": True, "stream_options": {"include_usage": True}})[0])
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(part["choices"][0]["delta"]["content"] for part in parts[:-1])
    assert text == whole["choices"][0]["message"]["content"]
    assert parts[-2]["choices"][0]["finish_reason"] == "stop"
    assert parts[-1]["usage"] == whole["usage"]


def test_a_stream_of_completions_has_text() -> None:
    parts = events(post("/v1/completions", {"prompt": "x", "stream": True, "max_tokens": 3})[0])
    assert "".join(part["choices"][0]["text"] for part in parts) == "".join(babble("1:None:0:x", 3)[0])


def test_it_speaks_at_the_chosen_speed() -> None:
    started = time.monotonic()
    post("/v1/completions", {"prompt": "x", "max_tokens": 5}, DummyEngine(tokens_per_second=50, first_token_seconds="0.1"))
    assert 0.18 <= time.monotonic() - started < 10


def test_it_fails_at_the_chosen_rate_and_repeatably() -> None:
    engine = FAST.model_copy(update={"failure_rate": "0.3"})
    first, second = ([answer.status_code for answer in post("/v1/chat/completions", CHAT, engine, 100)] for _ in range(2))
    assert first == second
    assert 15 < first.count(500) < 45
    assert set(first) == {200, 500}


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/v1/chat/completions", CHAT | {"model": "other"}, 404, "does not exist"),
        ("/v1/chat/completions", {"model": "m"}, 400, "messages"),
        ("/v1/completions", {"model": "m"}, 400, "prompt"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 0}, 400, "max_tokens"),
        ("/v1/completions", b"{", 400, "not JSON"),
        ("/v1/completions", [], 400, "JSON object"),
    ],
)
def test_the_callers_mistakes_are_named(path: str, body: object, status: int, word: str) -> None:
    answer = post(path, body)[0]
    assert answer.status_code == status
    assert word in answer.json()["error"]["message"]
