"""TCP's keepalive on the connections of the HTTP client, on platforms that name its options otherwise too."""

from __future__ import annotations

import runpy
import socket

import pytest

from matrix_store.kubernetes import keepalive


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
