"""The operator's calls to the API server end as the base install's do, whichever library makes them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from aiohttp import web
from lightkube.config.client_adapter import BearerTokenFileAuth

from matrix_operator.api_transport import AiohttpTransport, transport
from matrix_store.errors import Conflict, Unavailable
from matrix_store.kubernetes.api import MERGE_PATCH, Api
from matrix_store.kubernetes.connection import Connection, connect
from matrix_store.kubernetes.faults import TooOld, Unauthenticated
from matrix_store.kubernetes.transport import HttpxTransport, Transport
from tests.unit.store.kubernetes.way import gate

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Make = Callable[[Connection], Transport]
PATH = "/api/v1/namespaces/team/pods"
LONG = "x" * 500_000
MAKERS: dict[str, Make] = {"aiohttp": lambda one: AiohttpTransport(one, 4), "httpx2": lambda one: HttpxTransport(one.http)}
BOTH = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@asynccontextmanager
async def called(make: Make, answer: Answer, auth: httpx2.Auth | None = None, prefix: str = "") -> AsyncIterator[Api]:
    """Calls that end in `answer`; `prefix`: what the server's address has behind its port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
    connection = Connection(httpx2.AsyncClient(base_url=url, auth=auth), url, "default", None, auth)
    api = Api(connection, transport=make(connection))
    try:
        yield api
    finally:
        await api.close()
        await runner.cleanup()


def run(make: Make, answer: Answer, body: Callable[[Api], Awaitable[None]], auth: httpx2.Auth | None = None, prefix: str = "") -> None:
    async def scenario() -> None:
        async with asyncio.timeout(30), called(make, answer, auth, prefix) as api:
            await body(api)

    asyncio.run(scenario())


async def lines(api: Api, seconds: float = 10.0) -> list[bytes]:
    async with aclosing(api.lines(PATH, {"watch": "true"}, seconds)) as found:
        return [line async for line in found]


@BOTH
def test_a_call_arrives_as_it_was_meant(make: Make) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers.getall("Content-Type") == [MERGE_PATCH]
        return web.json_response({"raw": request.raw_path, "method": request.method, "body": await request.text()})

    async def body(api: Api) -> None:
        found = await api.merge(f"{PATH}/one", {"metadata": {"labels": {"a": "ä"}}})
        assert found["raw"] == f"/clusters/7{PATH}/one?fieldManager=matrix&fieldValidation=Strict"
        assert (found["method"], json.loads(found["body"])) == ("PATCH", {"metadata": {"labels": {"a": "ä"}}})

    run(make, answer, body, prefix="/clusters/7/")


@BOTH
def test_a_selector_is_understood(make: Make) -> None:
    selector = "involvedObject.kind=RayCluster,type=Warning"

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": "3"}, "items": [dict(request.query)]})

    async def body(api: Api) -> None:
        assert await api.list_all(PATH, fieldSelector=selector) == ([{"fieldSelector": selector, "limit": "500"}], "3")

    run(make, answer, body)


@BOTH
def test_a_refusal_is_the_servers(make: Make) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "reason": "Conflict", "message": "it has changed"}, status=409)

    async def body(api: Api) -> None:
        with pytest.raises(Conflict, match="it has changed"):
            await api.create(PATH, {})

    run(make, answer, body)


@BOTH
def test_one_that_is_too_busy_is_asked_again_when_it_says(make: Make) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(await request.text())
        return web.json_response({}, status=429, headers={"retry-after": "0.01"}) if len(asked) == 1 else web.json_response({"a": 1})

    async def body(api: Api) -> None:
        assert await api.create(PATH, {"b": 2}) == {"a": 1}
        assert asked == ['{"b":2}', '{"b":2}']

    run(make, answer, body)


@BOTH
def test_a_token_file_is_read_again_when_the_old_token_is_refused(make: Make, tmp_path: Path) -> None:
    file, seen, good = tmp_path / "token", [], ["old"]
    file.write_text("old")

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], await request.text()))
        return web.json_response({}, status=200 if seen[-1][0] == f"Bearer {good[0]}" else 401)

    async def body(api: Api) -> None:
        await api.create(PATH, {})
        good[0] = "new"
        with pytest.raises(Unauthenticated):
            await api.create(PATH, {})
        file.write_text("new")
        await api.create(PATH, {"a": 1})
        assert seen[-2:] == [("Bearer old", '{"a":1}'), ("Bearer new", '{"a":1}')]

    run(make, answer, body, BearerTokenFileAuth(str(file)))


@BOTH
def test_a_certificate_alone_needs_no_header(make: Make) -> None:
    class CertificateOnly(httpx2.Auth):
        """As a plugin's that printed no token."""

    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append("Authorization" in request.headers)
        return web.json_response({})

    async def body(api: Api) -> None:
        assert await api.get(PATH) == {}

    run(make, answer, body, CertificateOnly())
    assert seen == [False]


@BOTH
def test_credentials_that_can_t_be_read_are_told(make: Make, tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        raise AssertionError("nothing is asked without credentials")

    async def body(api: Api) -> None:
        with pytest.raises(Unavailable, match="nowhere not found"):
            await api.get(PATH)

    run(make, answer, body, BearerTokenFileAuth(str(tmp_path / "nowhere")))


@BOTH
def test_lines_come_whole_however_they_are_cut(make: Make) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for piece in ("one\ntw", "o\n", "\n", LONG, "\nlast"):
            await stream.write(piece.encode())
            await asyncio.sleep(0.01)
        return stream

    async def body(api: Api) -> None:
        assert await lines(api) == [b"one", b"two", b"", LONG.encode(), b"last"]

    run(make, answer, body)


@BOTH
def test_a_watch_that_is_refused_says_why(make: Make) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "reason": "Expired", "message": "too old"}, status=410)

    async def body(api: Api) -> None:
        with pytest.raises(TooOld):
            await lines(api)

    run(make, answer, body)


@BOTH
def test_a_watch_that_is_silent_ends(make: Make) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(b"one\n")
        await asyncio.sleep(20)
        return stream

    async def body(api: Api) -> None:
        with pytest.raises((TimeoutError, httpx2.TimeoutException)):
            await lines(api, 0.2)

    run(make, answer, body)


@BOTH
def test_an_answer_that_breaks_off_is_none(make: Make) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Length": "100"})
        await stream.prepare(request)
        await stream.write(b'{"a"')
        assert request.transport is not None
        request.transport.abort()
        return stream

    async def body(api: Api) -> None:
        with pytest.raises(Unavailable, match="can't be reached"):
            await api.get(PATH)
        with pytest.raises((OSError, httpx2.HTTPError)):
            await lines(api)

    run(make, answer, body)


@BOTH
def test_a_server_that_is_away_is_told_in_short_words(make: Make) -> None:
    async def body() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and nobody listens
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            connection = Connection(httpx2.AsyncClient(base_url=url), url, "default")
            api = Api(connection, transport=make(connection))
            with pytest.raises(Unavailable) as caught:
                await api.get(PATH)
            await api.close()
        assert "refused" in str(caught.value) or "All connection attempts failed" in str(caught.value)
        assert "ssl" not in str(caught.value)

    asyncio.run(body())


@BOTH
def test_calls_and_watches_are_made_on_somebodys_behalf_under_another_name(make: Make, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(30), gate(tmp_path, "kube.test") as opened:
            user = {"token": "t", "as": "jürgen", "as-groups": ["view", "audit"]}
            connection = connect(kubeconfig=opened.kubeconfig(tmp_path, user, **{"tls-server-name": "kube.test"}))
            api = Api(connection, transport=make(connection))
            assert (await api.get(PATH), await lines(api)) == ({}, [b"{}"])
            await api.close()
            name = ("impersonate-user", "jürgen".encode().decode("latin-1"))  # as the library of the server reads UTF-8
            assert opened.impersonated() == [[name, ("impersonate-group", "view"), ("impersonate-group", "audit")]] * 2
            assert set(opened.names) == {"kube.test"}

    asyncio.run(scenario())


@BOTH
def test_nothing_is_left_open(make: Make, recwarn: pytest.WarningsRecorder) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({})

    async def body(api: Api) -> None:
        await asyncio.gather(*(api.get(PATH) for _ in range(20)))  # more than may be under way at once

    run(make, answer, body)
    assert not [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)]


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({}, AiohttpTransport),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, HttpxTransport),
        ({"ALL_PROXY": "socks5://proxy.test:1080"}, HttpxTransport),
        ({"HTTP_PROXY": "http://proxy.test:3128"}, AiohttpTransport),
        ({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": ".test"}, AiohttpTransport),
    ],
)
def test_behind_a_proxy_calls_are_made_by_who_knows_proxies(environ: dict[str, str], kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    connection = Connection(httpx2.AsyncClient(trust_env=False), "https://api.test:6443", "default")
    assert type(transport(connection, 4)) is kind


def test_behind_a_proxy_of_the_kubeconfig_too() -> None:
    connection = Connection(httpx2.AsyncClient(trust_env=False), "https://api.test:6443", "default", proxy="http://proxy.test")
    assert type(transport(connection, 4)) is HttpxTransport
