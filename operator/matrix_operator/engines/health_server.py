"""/livez and /readyz over HTTP, from threads of their own, so that a stuck event loop is told as one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from matrix_operator.engines.health import Health

PROBE_SECONDS = 5.0
"""How long a connection may keep a thread without saying what it wants."""


class Address(NamedTuple):
    host: str
    port: int
    """0 for a free one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class HealthServer:
    """Serves from the moment it is made. Raises OSError when the address can't be had."""

    def __init__(self, address: Address, health: Health) -> None:
        answers = {"/livez": health.dead, "/readyz": health.unready}
        self._server = _Server(address, _handler(answers))
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Address, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = _family(address.host)
        super().__init__((address.host, address.port), handler)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _handler(answers: dict[str, Callable[[], tuple[str, ...]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PROBE_SECONDS

        def do_GET(self) -> None:
            ask = answers.get(self.path.split("?")[0])
            if ask is None:
                self._say(404, f"there is only {' and '.join(answers)}")
                return
            wrong = ask()
            self._say(503 if wrong else 200, "\n".join(wrong) or "ok")

        def _say(self, code: int, text: str) -> None:
            body = f"{text}\n".encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds: none is worth a line."""

    return Handler
