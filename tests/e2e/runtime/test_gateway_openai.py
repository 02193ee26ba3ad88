"""The openai package against the gateway, unchanged; and every way to be refused."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from matrix_runtime.engines.port import OFFERED_PATHS
from tests.e2e.runtime.gateway_world import KEY, World
from tests.e2e.runtime.ray_cluster import CLIENT_TOKEN

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    try:
        world.start()
        world.declare("m", "org/other")
        world.add("a", tokensPerSecond=1000)
        world.add("b", "org/other", tokensPerSecond=1000)
        world.serves("m", "org/other")
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="module")
def http(world: World) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=world.url, timeout=60) as client:
        yield client


@pytest.fixture
def client(world: World) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{world.url}/v1", api_key=CLIENT_TOKEN, max_retries=0, timeout=60)


def test_chat_and_completion(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(model="m", messages=HELLO, n=2, max_tokens=5, seed=0, temperature=0)
    assert chat.model == "m" and len(chat.choices) == 2
    assert chat.usage is not None and chat.usage.completion_tokens == 10
    assert (
        chat.choices[0].message.content
        == client.chat.completions.create(model="m", messages=HELLO, max_tokens=5, seed=0).choices[0].message.content
    )
    other = client.completions.create(model="org/other", prompt="hello", max_tokens=3)
    assert other.model == "org/other" and len(other.choices[0].text.split()) == 3


def test_stop_is_passed_through(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="m", messages=HELLO, max_tokens=8).choices[0].message.content or ""
    word = whole.split()[4]
    cut = client.chat.completions.create(model="m", messages=HELLO, max_tokens=8, stop=[f" {word}"])
    assert cut.choices[0].finish_reason == "stop" and len(cut.choices[0].message.content or "") < len(whole)


def test_a_stream_comes_piece_by_piece(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="m", messages=HELLO, max_tokens=6, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) == 6
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 6


def test_tools_and_response_format_are_passed_through(client: openai.OpenAI) -> None:
    called = client.chat.completions.create(
        model="m",
        messages=HELLO,
        tools=[
            {
                "type": "function",
                "function": {"name": "look", "parameters": {"type": "object", "properties": {"model": {"type": "string"}}}},
            }
        ],
        tool_choice={"type": "function", "function": {"name": "look"}},
    )
    calls = called.choices[0].message.tool_calls
    assert calls is not None and calls[0].type == "function" and calls[0].function.name == "look"
    formed = client.chat.completions.create(model="m", messages=HELLO, response_format={"type": "json_object"})
    assert (formed.choices[0].message.content or "").startswith("{")


def test_embeddings(client: openai.OpenAI) -> None:
    found = client.embeddings.create(model="m", input=["one", "two"], encoding_format="float")
    assert len(found.data) == 2 and len(found.data[0].embedding) > 1


def test_models_are_listed_merged(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["m", "org/other"]
    assert client.models.retrieve("org/other").owned_by == "matrix"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_refusals_are_those_that_the_package_knows(world: World, client: openai.OpenAI) -> None:
    stranger = openai.OpenAI(base_url=f"{world.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="a valid key is needed"):
        stranger.chat.completions.create(model="m", messages=HELLO)
    with pytest.raises(openai.NotFoundError, match=r"did you mean 'org/other'\? there is m, org/other") as refused:
        client.chat.completions.create(model="org/othr", messages=HELLO)
    assert refused.value.response.headers["matrix-reason"] == "UnknownModel"
    with pytest.raises(openai.BadRequestError, match="at least one message"):
        client.chat.completions.create(model="m", messages=[])


BAD = [
    ("POST", "/v1/chat/completions", b"not JSON", 400, "BadRequest", "not JSON"),
    ("POST", "/v1/chat/completions", b"", 400, "BadRequest", "empty"),
    ("POST", "/v1/chat/completions", b'{"messages": []}', 400, "BadRequest", "must name a model"),
    ("POST", "/v1/chat/completions", b'{"model": 7}', 400, "BadRequest", "must name a model"),
    ("POST", "/v1/chat/completions", b'["model"]', 400, "BadRequest", "JSON object"),
    ("POST", "/v1/load_lora_adapter", b"{}", 404, "NotOffered", "not offered"),
    ("GET", "/", b"", 404, "NotOffered", "not offered"),
    ("GET", "/v1/chat/completions", b"", 405, "NotOffered", "takes POST"),
    ("DELETE", "/v1/models", b"", 405, "NotOffered", "takes GET"),
    ("POST", "/health", b"", 405, "NotOffered", "takes GET"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "reason", "words"), BAD)
def test_what_is_wrong_is_told_in_openais_form(
    world: World, method: str, path: str, body: bytes, status: int, reason: str, words: str
) -> None:
    answer = httpx2.request(method, world.url + path, content=body, headers=KEY | {"content-type": "application/json"})
    assert (answer.status_code, answer.headers["matrix-reason"]) == (status, reason)
    assert answer.headers["matrix-retryable"] in ("0", "1")
    error = answer.json()["error"]
    assert words in error["message"] and error["code"] == status and {"type", "param"} <= error.keys()


NOT_OFFERED = (
    *("/", "/docs", "/openapi.json", "/invocations", "/ping", "/v1/models/m", "/v1/load_lora_adapter", "/sleep", "/haproxy?stats"),
    *("/matrix/v1/state", "/v1", "//v1/models", "/v1/models/../models", "/health/", "/HEALTH", "/%68ealth", "/reset_prefix_cache"),
)
WITHOUT_KEY: tuple[dict[str, str], ...] = (
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Basic {CLIENT_TOKEN}"},
    {"Authorization": CLIENT_TOKEN},
)


@pytest.mark.parametrize("path", [*sorted(OFFERED_PATHS), *NOT_OFFERED])
def test_no_route_answers_without_a_key(http: httpx2.Client, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
        for headers in WITHOUT_KEY:
            answer = http.request(method, path, headers=headers)
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_health_is_open_and_says_nothing_more(world: World) -> None:
    answer = httpx2.get(f"{world.url}/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_metrics_tell_requests_by_model(world: World, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="org/other", messages=HELLO, max_tokens=1)
    page = httpx2.get(f"{world.url}/metrics", headers=KEY).text
    found = [line for line in page.splitlines() if line.startswith("matrix_gateway_requests_total") and 'model="org/other"' in line]
    answered = next(float(line.split()[-1]) for line in found if 'code="2xx"' in line and 'protocol="http"' in line)
    assert answered >= 1
    for name in ("in_flight", "retries_total", "first_byte_seconds", "sent_bytes_total", "waiting", "answers_total"):
        assert f"matrix_gateway_{name}" in page
