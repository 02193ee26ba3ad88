"""Counts the requests in flight."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

NOT_WORK = frozenset({"/health", "/metrics", "/v1/models", "/version"})


class OngoingRequests:
    """ASGI middleware: `count` requests are being answered. A stream counts until its end; looks at the server don't."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in NOT_WORK:
            await self._app(scope, receive, send)
            return
        self.count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.count -= 1
