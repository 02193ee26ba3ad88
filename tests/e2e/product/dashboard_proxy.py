"""Stands in front of Ray's dashboard: hands everything on, or answers with an error or with nonsense."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

NONSENSE = {
    "HTTP 500": (500, "Internal Server Error"),
    "HTTP 200 with other JSON": (200, '{"result": "hello", "data": []}'),
    "HTTP 200 with a web page": (200, "<html><body>It works!</body></html>"),
}


class DashboardProxy:
    """A context. `port` is where it listens."""

    def __init__(self, behind: int) -> None:
        self._answer: tuple[int, str] | None = None
        self.written: list[str] = []
        """PUT requests that came while it answered nonsense."""
        self.on_the_way: Callable[[bytes], bytes] = bytes
        """What becomes of the body of a request that is handed on."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, behind))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="dashboard-proxy")
        self.port = self._server.server_address[1]

    def __enter__(self) -> DashboardProxy:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def say(self, what: str) -> None:
        """Answer everything like that; a key of NONSENSE."""
        self._answer = NONSENSE[what]

    def forward(self) -> None:
        self._answer = None

    def answer(self, method: str, path: str) -> tuple[int, str] | None:
        """None: hand it on."""
        if self._answer is not None and method == "PUT":
            self.written.append(path)
        return self._answer


def _handler(proxy: DashboardProxy, behind: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = proxy.answer(self.command, self.path)
            status, text = (given[0], given[1].encode()) if given else self._ask(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _ask(self, body: bytes) -> tuple[int, bytes]:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
            connection = http.client.HTTPConnection("127.0.0.1", behind, timeout=30)
            try:
                connection.request(self.command, self.path, proxy.on_the_way(body) or None, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except OSError as error:
                return 502, str(error).encode()
            finally:
                connection.close()

        do_GET = do_PUT = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Handler
