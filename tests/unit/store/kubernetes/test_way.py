"""Calls, watches and websockets go the way that the kubeconfig says, all of them."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest

from matrix_store.errors import Unavailable
from matrix_store.kubernetes.api import Api
from matrix_store.kubernetes.connection import Connection, connect
from matrix_store.kubernetes.faults import Untrusted
from matrix_store.kubernetes.websocket import open_websocket, pod_path
from tests.unit.store.kubernetes.way import ELSEWHERE, Gate, gate
from tests.unit.store.support import run

Ask = Callable[[Connection], Awaitable[object]]


async def call(connection: Connection) -> None:
    assert await Api(connection).get("/version") == {}


async def watch(connection: Connection) -> None:
    async with aclosing(Api(connection).lines("/api/v1/pods", {"watch": "true"}, 5.0)) as lines:
        assert [line async for line in lines] == [b"{}"]


async def websocket(connection: Connection) -> None:
    await (await open_websocket(connection, pod_path("team", "pod", "exec"), "command=true")).close()


EACH = pytest.mark.parametrize("ask", [call, watch, websocket])


@EACH
def test_on_somebodys_behalf(tmp_path: Path, ask: Ask) -> None:
    async def scenario() -> None:
        async with gate(tmp_path) as opened:
            user = {"token": "t", "as": "jürgen", "as-groups": ["view", "audit"], "as-user-extra": {"a/b": ["c"]}}
            connection = connect(kubeconfig=opened.kubeconfig(tmp_path, user))
            await ask(connection)
            await connection.http.aclose()
            name, *rest = opened.impersonated()[0]
            assert name[1].encode("latin-1").decode() == "jürgen", "in UTF-8, which websockets reads as Latin 1"
            assert rest == [("impersonate-group", "view"), ("impersonate-group", "audit"), ("impersonate-extra-a%2fb", "c")]
            assert opened.seen[0].headers["Authorization"] == "Bearer t"

    run(scenario())


@EACH
def test_under_another_name(tmp_path: Path, ask: Ask) -> None:
    async def scenario() -> None:
        async with gate(tmp_path, "kube.test") as opened:
            wrong = connect(kubeconfig=opened.kubeconfig(tmp_path))
            with pytest.raises((Untrusted, httpx2.ConnectError), match=r"not valid for '127\.0\.0\.1'"):
                await ask(wrong)
            assert not opened.seen
            right = connect(kubeconfig=opened.kubeconfig(tmp_path, **{"tls-server-name": "kube.test"}))
            opened.names.clear()
            await ask(right)
            assert (len(opened.seen), opened.names) == (1, ["kube.test"])
            await wrong.http.aclose()
            await right.http.aclose()

    run(scenario())


@EACH
def test_by_an_address_in_capitals(tmp_path: Path, ask: Ask) -> None:
    async def scenario() -> None:
        async with gate(tmp_path) as opened:
            connection = connect(kubeconfig=opened.kubeconfig(tmp_path, server=f"HTTPS://127.0.0.1:{opened.port}"))
            await ask(connection)
            assert len(opened.seen) == 1
            await connection.http.aclose()

    run(scenario())


@EACH
def test_through_a_proxy_that_alone_knows_the_server(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")  # is about what the environment names

    async def scenario() -> None:
        async with gate(tmp_path, "kube.test") as opened:
            way = {"server": ELSEWHERE, "proxy-url": opened.proxy, "tls-server-name": "kube.test"}
            connection = connect(kubeconfig=opened.kubeconfig(tmp_path, **way))
            await ask(connection)
            assert (opened.asked, opened.names) == (["CONNECT api.nowhere.test:6443 HTTP/1.1"], ["kube.test"])
            await connection.http.aclose()

    run(scenario())


@EACH
def test_through_a_proxy_with_tls_of_the_same_authority(tmp_path: Path, ask: Ask) -> None:
    async def scenario() -> None:
        async with gate(tmp_path, scheme="https") as opened:
            connection = connect(kubeconfig=opened.kubeconfig(tmp_path, **{"proxy-url": opened.proxy}))
            await ask(connection)
            assert (len(opened.seen), opened.asked) == (1, [f"CONNECT 127.0.0.1:{opened.port} HTTP/1.1"])
            await connection.http.aclose()

    run(scenario())


def test_through_a_socks_proxy_other_packages_are_needed_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    file = Gate("kube.test").kubeconfig(tmp_path, **{"server": ELSEWHERE, "proxy-url": "socks5://me:hush@jump.test"})
    with pytest.raises(Unavailable, match=r"nowhere\.test:6443 is reached through a SOCKS proxy, which .* socksio python-socks") as caught:
        connect(kubeconfig=file)
    assert "hush" not in str(caught.value)


@pytest.mark.skipif(find_spec("python_socks") is not None, reason="python-socks is installed")
def test_a_websocket_says_itself_what_it_needs_for_a_socks_proxy() -> None:
    async def scenario() -> None:
        async with httpx2.AsyncClient() as http:
            connection = Connection(http, ELSEWHERE, "default", ssl.create_default_context(), proxy="socks5://127.0.0.1:9")
            with pytest.raises(Unavailable, match=r"is reached through a SOCKS proxy, which .* python-socks"):
                await websocket(connection)

    run(scenario())


def test_a_websocket_whose_credentials_fail_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gate(tmp_path) as opened:
            connection = connect(kubeconfig=opened.kubeconfig(tmp_path, {"tokenFile": "gone"}))
            with pytest.raises(Unavailable, match="gone can't be read"):
                await websocket(connection)
            await connection.http.aclose()

    run(scenario())
