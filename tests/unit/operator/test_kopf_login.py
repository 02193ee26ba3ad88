"""kopf's session: the credentials of each request, and what it tells of the watches' life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import httpx2
import pytest
from aiohttp import web
from lightkube.config.client_adapter import BearerTokenFileAuth

from matrix_operator.engines import kopf_login
from matrix_operator.engines.kopf_login import KopfLogin
from matrix_store.errors import Unavailable
from matrix_store.kubernetes.connection import Connection, connect
from tests.unit.store.kubernetes.way import ELSEWHERE, gate

PATH = "/apis/matrix.dev/v1alpha1/matrixclusters"


class Server:
    """Lets in whoever has the token."""

    def __init__(self, token: str = "") -> None:
        self.token = token
        self.seen: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization", ""))
        return web.Response(status=200 if self.seen[-1] in ("", f"Bearer {self.token}") else 401)


@asynccontextmanager
async def session(
    server: Server, auth: httpx2.Auth | None, prefix: str = ""
) -> AsyncIterator[tuple[KopfLogin, str, aiohttp.ClientSession]]:
    """`prefix`: what the server's address has behind its port."""
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
    client = httpx2.AsyncClient()
    login = KopfLogin(Connection(client, url, "default", None, auth))
    try:
        info = await login.login()
        async with info.aiohttp_session as opened:
            yield login, info.server, opened
    finally:
        await client.aclose()
        await runner.cleanup()


def run(
    server: Server, auth: httpx2.Auth | None, body: Callable[[KopfLogin, Callable[[], Awaitable[int]]], Awaitable[None]], prefix: str = ""
) -> None:
    async def scenario() -> None:
        async with session(server, auth, prefix) as (login, url, opened):

            async def ask() -> int:
                async with opened.get(url.rstrip("/") + PATH) as answer:  # as kopf puts them together
                    return answer.status

            await body(login, ask)

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_token_file_is_read_again_when_the_old_token_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    server = Server("old")

    async def body(login: KopfLogin, ask: Callable[[], Awaitable[int]]) -> None:
        assert await ask() == 200
        server.token = "new"
        assert await ask() == 401, "the file has not changed yet"
        file.write_text("new\n")
        assert await ask() == 200
        assert server.seen == [f"Bearer {token}" for token in ("old", "old", "old", "old", "new")]

    run(server, BearerTokenFileAuth(str(file)), body)


def test_where_the_certificate_says_who_is_calling_no_header_is_sent() -> None:
    server = Server()

    async def body(login: KopfLogin, ask: Callable[[], Awaitable[int]]) -> None:
        assert await ask() == 200
        assert server.seen == [""]

    run(server, None, body)


def test_what_is_heard_and_what_is_tried_are_two_things(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("bad")
    server = Server("good")
    begun = time.monotonic()

    async def body(login: KopfLogin, ask: Callable[[], Awaitable[int]]) -> None:
        await asyncio.sleep(0.2)
        asked = time.monotonic()
        assert await ask() == 401
        assert login.stillness([PATH], begun) <= time.monotonic() - asked, "it did something"
        assert login.silence([PATH], begun) >= 0.2, "and was told nothing"
        server.token = "bad"
        asked = time.monotonic()
        assert await ask() == 200
        assert login.silence([PATH], begun) <= time.monotonic() - asked
        other = "/apis/matrix.dev/v1alpha1/modeldeployments"
        assert login.silence([PATH, other], begun) >= 0.2, "the quietest counts"
        assert login.stillness([PATH, other], begun) >= 0.2
        assert login.silence([PATH], time.monotonic() + 5) < 0, "nothing before the beginning counts"

    run(server, BearerTokenFileAuth(str(tmp_path / "token")), body)


@pytest.mark.parametrize("prefix", ["", "/", "/k8s/clusters/c-1", "/k8s/clusters/c-1/", "/a%20proxy/c-1"])
def test_paths_are_relative_to_a_server_whose_address_has_one(prefix: str) -> None:
    begun = time.monotonic() - 300

    async def body(login: KopfLogin, ask: Callable[[], Awaitable[int]]) -> None:
        assert await ask() == 200
        assert login.silence([PATH], begun) < 100
        assert login.stillness([PATH], begun) < 100

    run(Server(), None, body, prefix)


def test_a_login_that_is_wanted_again_at_once_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf asks for one after every 401: credentials that go on being refused must not become a storm."""
    monkeypatch.setattr(kopf_login, "AGAIN_SECONDS", 0.3)

    async def scenario() -> float:
        login = KopfLogin(Connection(httpx2.AsyncClient(), "http://127.0.0.1:9", "default"))
        begun = time.monotonic()
        for _ in range(3):
            await (await login.login()).aiohttp_session.close()
        return time.monotonic() - begun

    assert asyncio.run(scenario()) >= 0.6


def test_kopf_goes_the_way_of_the_kubeconfig(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(20), gate(tmp_path, "kube.test") as opened:
            user = {"token": "t", "as": "readonly", "as-groups": ["view", "audit"]}
            way = {"server": ELSEWHERE, "proxy-url": opened.proxy, "tls-server-name": "kube.test"}
            connection = connect(kubeconfig=opened.kubeconfig(tmp_path, user, **way))
            info = await KopfLogin(connection).login()
            async with info.aiohttp_session as session, session.get(ELSEWHERE + PATH, headers={"Accept": "application/json"}) as answer:
                assert answer.status == 200
            await connection.http.aclose()
            assert opened.asked == ["CONNECT api.nowhere.test:6443 HTTP/1.1"]
            assert opened.names == ["kube.test"]
            assert opened.impersonated() == [[("impersonate-user", "readonly"), *(("impersonate-group", one) for one in ("view", "audit"))]]
            assert opened.seen[0].headers["Authorization"] == "Bearer t"

    asyncio.run(scenario())


@pytest.mark.parametrize("scheme", ["https", "socks5"])
def test_a_proxy_that_kopf_can_t_go_through_is_refused_at_the_start(scheme: str) -> None:
    connection = Connection(httpx2.AsyncClient(), ELSEWHERE, "default", proxy=f"{scheme}://me:hush@jump.test")
    with pytest.raises(Unavailable, match=rf"begins with {scheme}://; the operator.s watches can go through http:// alone") as caught:
        KopfLogin(connection)
    assert "hush" not in str(caught.value)
