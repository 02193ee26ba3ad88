"""The gate in front of every HTTP app of ours: deny by default.

A path that is not in the rules does not exist for a caller, whatever the app behind would say. (vLLM's own --api-key guards only some
prefixes: /invocations, /tokenize and /metrics answer without it.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from matrix_proto.errors import TOKEN_HEADER, ErrorReason
from matrix_runtime.errors import ApiError
from matrix_runtime.tokens import TokenFile, bearer_token

Rules = Mapping[str, tuple[TokenFile, ...]]
"""Path -> the tokens of which one must be presented; none: open to anyone."""
RETRY_AFTER_SECONDS = 1


class Gate:
    """ASGI middleware: lets through what the rules allow. Errors have OpenAI's form."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._all = tuple({id(token): token for tokens in rules.values() for token in tokens}.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif refusal := self._refusal(scope["path"], bearer(scope)):
            await refuse(send, refusal)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, path: str, presented: str) -> ApiError | None:
        accepted = self._rules.get(path)
        if accepted == ():
            return None
        if not any(token.matches(presented) for token in accepted or self._all):
            message = "a valid token is needed: send it as 'Authorization: Bearer <token>'"
            return ApiError(ErrorReason.UNAUTHENTICATED, message)
        return ApiError(ErrorReason.NOT_OFFERED, f"{path} is not offered here") if accepted is None else None


def header(scope: Scope, wanted: bytes) -> str:
    """The first header of that (lower-case) name; "" without one."""
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value).decode("latin-1")
    return ""


def bearer(scope: Scope) -> str:
    """The bearer token of a request; "" without one."""
    return bearer_token(header(scope, TOKEN_HEADER.encode()) or header(scope, b"authorization"))


def error_body(message: str, status: int, param: str | None = None) -> dict[str, object]:
    """An error as OpenAI's API writes it."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = "server_error" if status >= 500 else kinds.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def reason_headers(reason: ErrorReason) -> list[tuple[bytes, bytes]]:
    """What tells a caller, beside the body, why and whether to ask again."""
    headers = [(name.encode(), value.encode()) for name, value in reason.metadata]
    if reason.http_status in (429, 503):
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    return headers


async def refuse(send: Send, error: ApiError) -> None:
    """Answers with an error instead of the app."""
    status = error.reason.http_status
    body = json.dumps(error_body(error.message, status, error.param)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *reason_headers(error.reason)]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
