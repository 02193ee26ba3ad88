from __future__ import annotations

import socket
from pathlib import Path

from matrix_runtime.http_server import listen, listen_unix


def test_an_answer_of_two_writes_does_not_wait_for_an_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_unix_socket_takes_the_place_of_one_that_was_left(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen_unix(path).close()
    with listen_unix(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
