"""In front of an engine's HTTP app, behind the gate: counts requests, bounds their size, refuses and ends them while the replica drains,
and tells by headers why a request failed."""

from __future__ import annotations

import asyncio
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matrix_proto.errors import ATTEMPT_KEY, REASON_KEY, ErrorReason
from matrix_proto.limits import LARGEST_MESSAGE
from matrix_runtime.auth import error_body, header, reason_headers, refuse
from matrix_runtime.engines.port import HEALTH_PATH, Api
from matrix_runtime.engines.words import reason_of
from matrix_runtime.errors import ApiError
from matrix_runtime.ongoing import HTTP, Ongoing
from matrix_runtime.serving.meter import CONTENT_TYPE, Meter, page

METRICS_PATH = "/metrics"
LOOKS = frozenset({HEALTH_PATH, "/v1/models", "/version"})
"""No work for the engine: answered while draining, and not counted."""
APIS = {"/v1/chat/completions": Api.CHAT.value, "/v1/completions": Api.COMPLETE.value, "/v1/embeddings": Api.EMBED.value}
OTHER = "other"
CALLER_GONE = "499"
"""The code of a request whose caller went away, as nginx counts it."""
_TOO_LARGE = ApiError(ErrorReason.TOO_LARGE, f"the body is larger than {LARGEST_MESSAGE // 1024**2} MiB")


class HttpFront:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, ongoing: Ongoing, meter: Meter) -> None:
        self._app = app
        self._ongoing = ongoing
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in LOOKS:
            await self._app(scope, receive, send)
        elif scope["path"] == METRICS_PATH:
            await self._metrics(send)
        else:
            await self._work(scope, receive, send)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        api = APIS.get(scope["path"], OTHER)
        if header(scope, ATTEMPT_KEY.encode()) not in ("", "1"):
            self._meter.retried(api, HTTP)
        try:
            if _announced(scope) > LARGEST_MESSAGE:
                raise _TOO_LARGE
            request = self._ongoing.begin(api, HTTP)
        except ApiError as error:
            self._meter.refused(api, HTTP, str(error.reason.http_status))
            await refuse(send, error)
            return
        exchange = Exchange(receive, send)
        try:
            await self._answer(scope, exchange)
        finally:
            request.code = exchange.code
            self._ongoing.end(request)

    async def _answer(self, scope: Scope, exchange: Exchange) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if not (ending := self._ongoing.ended_by_us()):
                raise
            await exchange.end_with(ending)

    async def _metrics(self, send: Send) -> None:
        headers = [(b"content-type", CONTENT_TYPE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": page(self._meter)})


class Exchange:
    """One request and its answer. What the app sends passes through; after an error of ours nothing of it does."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._received = 0
        self._held: Message | None = None
        self._started = self._events = self._over = False
        self.code = CALLER_GONE
        """The answer's status."""

    async def receive(self) -> Message:
        """For the app: a part of the request's body. One that is too large is refused at once, and looks to the app like a caller that has
        gone."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._over:
            self.code = CALLER_GONE
        self._received += len(message.get("body", b""))
        if self._received > LARGEST_MESSAGE:
            await self.end_with(_TOO_LARGE)
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """For the app. The start is held until the first bytes are there: of an error, to tell the reason from its words; of a stream, so
        that it has not begun for anyone (a gateway asks elsewhere) while it has no token."""
        if self._over:
            return
        if message["type"] == "http.response.start":
            self.code = str(message["status"])
            self._events = _is_event_stream(message)
            self._held = message
            return
        if self._held is not None and self._held["status"] >= 400 and b'"error"' not in message.get("body", b""):
            await self.end_with(_plain_error(self._held["status"], message.get("body", b"")))
            return
        await self._release(message)
        self._over = not message.get("more_body", False)
        await self._send(message)

    async def end_with(self, error: ApiError) -> None:
        """Ends the answer with an error: as one, or as the last event of a stream that has begun."""
        if self._over:
            return
        self._over = True
        self.code = str(error.reason.http_status)
        if not self._started:
            await refuse(self._send, error)
        elif self._events:
            event = json.dumps(error_body(error.message, error.reason.http_status))
            await self._send({"type": "http.response.body", "body": f"data: {event}\n\n".encode()})
        else:
            raise ConnectionAbortedError(error.message)  # half of an object was sent: cutting it off is all that is left

    async def _release(self, body: Message) -> None:
        if self._held is None:
            return
        start, self._held = self._held, None
        headers = list(start.get("headers", ()))
        if start["status"] >= 400 and not any(name == REASON_KEY.encode() for name, _ in headers):
            reason = reason_of(start["status"], body.get("body", b"").decode(errors="replace"))
            headers += reason_headers(reason)
        self._started = True
        await self._send({**start, "headers": headers})


def _plain_error(status: int, body: bytes) -> ApiError:
    """For an error without OpenAI's form: the app's framework, not the engine, has answered."""
    if status in (404, 405):
        return ApiError(ErrorReason.NOT_OFFERED, "this model does not offer that: its engine has no such function, or not by this method")
    words = body.decode(errors="replace")
    return ApiError(reason_of(status, words), words or f"the engine answered with status {status}")


def _announced(scope: Scope) -> int:
    length = header(scope, b"content-length")
    return int(length) if length.isdecimal() else 0


def _is_event_stream(start: Message) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in start.get("headers", ()))
