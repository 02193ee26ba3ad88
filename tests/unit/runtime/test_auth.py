from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest
from httpx2 import ASGITransport
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from matrix_crds.deployment import DummyEngine
from matrix_runtime.auth import Gate
from matrix_runtime.engines.dummy import DummyAdapter
from matrix_runtime.serving.servers import guarded
from matrix_runtime.tokens import TokenFile


def get(app: ASGIApp, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> httpx2.Response:
    async def run() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=ASGITransport(app=app), base_url="http://replica") as http:
            return await http.request(method, path, headers=headers)

    return asyncio.run(run())


@pytest.fixture
def token(tmp_path: Path) -> TokenFile:
    (tmp_path / "token").write_text("secret\n")
    return TokenFile(tmp_path / "token")


def everything(path: str = "/{rest:path}") -> Starlette:
    async def answer(request: object) -> PlainTextResponse:
        return PlainTextResponse("inside")

    return Starlette(routes=[Route(path, answer)])


BEARER = {"Authorization": "Bearer secret"}


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}, {"Authorization": "Bearer "}])
def test_without_the_token_there_is_an_error_in_openais_form(token: TokenFile, header: dict[str, str]) -> None:
    answer = get(guarded(everything(), token), "/v1/models", header)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_what_is_offered(token: TokenFile) -> None:
    assert get(guarded(everything(), token), "/v1/chat/completions", BEARER).text == "inside"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Matrix-Authorization": "Bearer secret"}, 200),
        ({"X-Matrix-Authorization": "Bearer wrong"}, 401),
        ({"X-Matrix-Authorization": "Bearer secret", "Authorization": "Basic of-a-proxy"}, 200),
        ({"X-Matrix-Authorization": "Bearer wrong", **BEARER}, 401),
        ({"X-Matrix-Authorization": "", **BEARER}, 200),
    ],
)
def test_where_authorization_does_not_arrive_another_header_takes_its_place(token: TokenFile, headers: dict[str, str], status: int) -> None:
    assert get(guarded(everything(), token), "/v1/models", headers).status_code == status


def test_bare_health_is_open_and_nothing_beneath_it(token: TokenFile) -> None:
    assert get(guarded(everything(), token), "/health").text == "inside"
    assert get(guarded(everything(), token), "/health/").status_code == 401


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/docs", "/openapi.json", "/v1/models/", "//v1/models", "/V1/models"])
def test_what_is_not_offered_does_not_exist_even_with_the_token(token: TokenFile, path: str) -> None:
    app = guarded(everything(), token)
    assert get(app, path).status_code == 401
    answer = get(app, path, BEARER)
    assert answer.status_code == 404 and "not offered" in answer.json()["error"]["message"]


def test_every_route_of_the_dummy_engine_is_refused_without_a_token_but_health(token: TokenFile) -> None:
    app = DummyAdapter(DummyEngine(), "m").app()
    assert isinstance(app, Starlette)
    for route in app.routes:
        assert isinstance(route, Route)
        for method in route.methods or ():
            answer = get(guarded(app, token), route.path, method=method)
            assert answer.status_code == (200 if route.path == "/health" else 401), route.path


def test_websockets_are_refused(token: TokenFile) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/health", "headers": []}
    asyncio.run(Gate(everything(), {"/health": ()})(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_rotated_token_counts_at_once(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "token")
    assert not file.matches("") and not file.matches("one")
    (tmp_path / "token").write_text("one")
    assert file.matches("one")
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").replace(tmp_path / "token")
    assert file.matches("two") and not file.matches("one")
