"""The gate in front of every HTTP app of ours: deny by default.

A path that is not in the rules does not exist for a caller, whatever the app behind would say. (vLLM's own --api-key guards only some
prefixes: /invocations, /tokenize and /metrics answer without it.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from matrix_runtime.tokens import TokenFile

Rules = Mapping[str, tuple[TokenFile, ...]]
"""Path -> the tokens of which one must be presented; none: open to anyone."""


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
            await refuse(send, *refusal)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, path: str, presented: str) -> tuple[int, str] | None:
        accepted = self._rules.get(path)
        if accepted == ():
            return None
        if not any(token.matches(presented) for token in accepted or self._all):
            return 401, "a valid token is needed: send it as 'Authorization: Bearer <token>'"
        return (404, f"{path} is not offered here") if accepted is None else None


def bearer(scope: Scope) -> str:
    """The bearer token of a request; "" without one."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return ""


def error_body(message: str, status: int) -> dict[str, object]:
    """An error as OpenAI's API writes it."""
    kinds = {401: "authentication_error", 404: "not_found_error", 500: "server_error", 503: "server_error"}
    return {"error": {"message": message, "type": kinds.get(status, "invalid_request_error"), "param": None, "code": status}}


async def refuse(send: Send, status: int, message: str) -> None:
    """Answers with an error instead of the app."""
    body = json.dumps(error_body(message, status)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
