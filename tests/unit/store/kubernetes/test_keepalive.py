"""TCP's keepalive on the connections of the HTTP client, on platforms that name its options otherwise too."""

from __future__ import annotations

import runpy
import socket
from types import SimpleNamespace

import httpx2
import pytest

from matrix_store.kubernetes import keepalive
from matrix_store.kubernetes.keepalive import keep_alive_from_here
from tests.unit.store.support import run


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="has no TCP_KEEPIDLE itself")
def test_macos_calls_the_time_until_the_first_question_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = socket.TCP_KEEPIDLE
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", idle, raising=False)
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    keep_alive = runpy.run_path(keepalive.__file__)["keep_alive"]  # what is read at the import counts too
    with socket.socket() as opened:
        keep_alive(opened)
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (idle, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [opened.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30, 10, 3]


@pytest.mark.parametrize("way", ["connection", "socks"])
def test_a_connection_through_a_socks_proxy_is_watched_over_as_well(way: str) -> None:
    """By the names that httpcore2 has for these events (its loggers', in _async/connection.py and _async/socks_proxy.py)."""
    with socket.socket() as opened:
        stream = SimpleNamespace(get_extra_info=lambda _: opened)

        async def connected() -> None:
            request = httpx2.Request("GET", "https://lab.test")
            await keep_alive_from_here(request)
            await request.extensions["trace"](f"{way}.connect_tcp.complete", {"return_value": stream})

        run(connected())
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
