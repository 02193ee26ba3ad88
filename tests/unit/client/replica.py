"""A stand-in for a replica's OpenAI server: real HTTP on a port of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "the-token"


@dataclass
class Replica:
    """What it does, and what it was asked."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    words: tuple[str, ...] = ("one", " two", " three")
    status: int = 200
    error: Any = None
    """The body of an answer that is not 200."""
    breaks_after: int | None = None
    """End a stream after so many pieces, without [DONE]."""


def _usage(replica: Replica) -> dict[str, int]:
    return {"prompt_tokens": 4, "completion_tokens": len(replica.words)}


def _handler(replica: Replica) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            replica.requests.append(body | {"path": self.path})
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._send(401, {"error": {"message": "wrong token"}})
            elif replica.status != 200:
                self._send(replica.status, replica.error)
            elif body.get("stream"):
                self._stream()
            else:
                message = {"role": "assistant", "content": "".join(replica.words)}
                self._send(200, {"choices": [{"message": message}], "usage": _usage(replica)})

        def _send(self, status: int, body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for word in replica.words[: replica.breaks_after]:
                self._event({"choices": [{"delta": {"content": word}}]})
            if replica.breaks_after is None:
                self._event({"choices": [], "usage": _usage(replica)})
                self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, data: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

        def log_message(self, format: str, *args: Any) -> None:
            return None

    return Handler


@contextmanager
def serving(replica: Replica) -> Iterator[Replica]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(replica))
    replica.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield replica
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
