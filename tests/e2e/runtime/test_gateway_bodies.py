"""Bodies of all sizes and forms reach the right model or are refused clearly."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx2
import pytest

from matrix_runtime.gateway.limits import FAST_BODY, LARGEST_BODY, MIB
from tests.e2e.runtime.gateway_world import KEY, World

HEADERS = KEY | {"content-type": "application/json"}
SIZES = [600, FAST_BODY - 1000, FAST_BODY + 1000, 300_000, 50 * MIB]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    try:
        world.start()
        world.declare("m", "n")
        world.add("a", "m", tokensPerSecond=10000)
        world.add("b", "n", tokensPerSecond=10000)
        world.serves("m", "n")
        yield world
    finally:
        world.stop()


def chat(size: int, before: str = "", after: str = "") -> bytes:
    """A chat request of about that size, with members before and after the message."""
    message = '"messages": [{"role": "user", "content": "%s"}], "max_tokens": 1' % ("x" * (size - 100))
    return ("{" + ", ".join(filter(None, (before, message, after))) + "}").encode()


def post(world: World, body: bytes, chunked: bool, **headers: str) -> httpx2.Response:
    content = (body[start : start + 60_000] for start in range(0, len(body), 60_000)) if chunked else body
    return httpx2.post(f"{world.url}/v1/chat/completions", content=content, headers=HEADERS | headers, timeout=60)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_the_model_is_found_wherever_it_is(world: World, size: int, chunked: bool) -> None:
    cases = {
        "first": chat(size, '"model": "n"'),
        "last": chat(size, after='"model": "n"'),
        "twice": chat(size, '"model": "m"', '"model": "n"'),
        "escaped": chat(size, '"mod\\u0065l": "n"'),
        "nested": chat(size, '"metadata": {"model": "m"}', '"model": "n"'),
    }
    for what, body in cases.items():
        answer = post(world, body, chunked)
        assert (answer.status_code, answer.json().get("model")) == (200, "n"), f"{what}: {answer.text[:300]}"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_a_header_names_the_model_as_well(world: World, size: int, chunked: bool) -> None:
    body = chat(size, after='"model": "n"')
    assert post(world, body, chunked, **{"x-matrix-model": "n"}).json()["model"] == "n"
    refused = post(world, body, chunked, **{"x-matrix-model": "none"})
    assert (refused.status_code, refused.headers["matrix-reason"]) == (404, "UnknownModel")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("headers", [{}, {"x-matrix-model": "n"}], ids=["body", "header"])
def test_a_body_above_the_limit_is_refused(world: World, chunked: bool, headers: dict[str, str]) -> None:
    answer = post(world, chat(LARGEST_BODY + MIB, '"model": "n"'), chunked, **headers)
    assert (answer.status_code, answer.headers["matrix-reason"]) == (413, "TooLarge")
    assert "64 MiB" in answer.json()["error"]["message"]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_large_head_before_the_body(world: World, chunked: bool) -> None:
    answer = post(world, chat(FAST_BODY - 1000, '"model": "m"', '"model": "n"'), chunked, **{"x-pad": "p" * 20_000})
    assert answer.json().get("model") == "n", answer.text[:300]


def test_large_nonsense_is_refused_in_words(world: World) -> None:
    for body in (b"x" * 300_000, b"[" * 300_000, chat(300_000), chat(300_000, '"model": "m"')[:-10]):
        answer = post(world, body, False)
        assert (answer.status_code, answer.headers["matrix-reason"]) == (400, "BadRequest")


def test_a_form_names_its_model(world: World) -> None:
    answer = httpx2.post(
        f"{world.url}/v1/audio/transcriptions", data={"model": "n"}, files={"file": b"RIFF" * 50_000}, headers=KEY, timeout=60
    )
    assert answer.status_code == 404 and "this model does not offer that" in answer.text, "the replica's own word"


def test_who_expects_100_continue_is_told_to(world: World) -> None:
    body = chat(600, '"model": "n"')
    with socket.create_connection(("127.0.0.1", world.port), timeout=30) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {KEY['Authorization']}\r\nexpect: 100-continue\r\n"
        connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body))
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
