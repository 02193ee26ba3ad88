"""kopf's way to the API server: our own credentials, read anew as often as they change, and a watch on what it hears.

kopf takes credentials once and asks for others only after a 401. A service account's token is another one every hour, so kopf is given
an HTTP session that authenticates each request as our own connection does: a token file that was replaced is read again when the old
token is refused, and a plugin of a kubeconfig is run again. What the session sends and hears is the only sign of life that
kopf's watches have while nothing changes: they are opened anew each minute.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

import aiohttp
import kopf
from yarl import URL

from matrix_operator.credentials import UNAUTHORIZED, authenticated
from matrix_store.errors import Unavailable
from matrix_store.kubernetes.connection import Connection

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
"""Between two logins, when the credentials go on being refused."""


class KopfLogin:
    """Credentials for one kopf, and what came of them. Belongs to kopf's event loop, but for `silence` and `heard`."""

    def __init__(self, connection: Connection) -> None:
        """Raises Unavailable where the connection is one that kopf's session can't have."""
        if connection.proxy is not None and not connection.proxy.startswith("http:"):
            scheme = connection.proxy.partition(":")[0]
            raise Unavailable(f"the kubeconfig's proxy-url begins with {scheme}://; the operator's watches can go through http:// alone")
        self._connection = connection
        self._prefix = URL(connection.server).path.rstrip("/")
        """Of every path that is asked for: an API server behind another one (Rancher's, say) has a path in its address."""
        self._last_login = float("-inf")
        self._tried: dict[str, float] = {}
        self._heard: dict[str, float] = {}
        """When each path was last asked for, and last answered, by time.monotonic(); relative to the server."""

    async def login(self, **_: Any) -> kopf.AiohttpSession:
        """kopf's login handler."""
        await asyncio.sleep(max(0.0, self._last_login + AGAIN_SECONDS - time.monotonic()))
        self._last_login = time.monotonic()
        connector = aiohttp.TCPConnector(limit=0, ssl=self._connection.tls or True)
        session = aiohttp.ClientSession(
            connector=connector,
            headers=self._connection.headers,
            middlewares=(self._ask,),
            proxy=self._connection.proxy,
            trust_env=True,
        )
        return kopf.AiohttpSession(aiohttp_session=session, server=self._connection.server)

    def silence(self, paths: Iterable[str], since: float) -> float:
        """Seconds since the quietest of these paths was last answered, counted from `since` if it never was."""
        return time.monotonic() - min(max(self._heard.get(path, since), since) for path in paths)

    def stillness(self, paths: Iterable[str], since: float) -> float:
        """Seconds since kopf last did anything for the path that it has left alone for the longest."""
        last = (max(self._tried.get(path, since), self._heard.get(path, since), since) for path in paths)
        return time.monotonic() - min(last)

    async def _ask(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """One request with its credentials; a second time with newly read ones after a 401."""
        path = request.url.path.removeprefix(self._prefix)
        self._tried[path] = time.monotonic()
        auth = self._connection.auth
        answer = await (authenticated(auth, request, send) if auth else send(request))
        if answer.status != UNAUTHORIZED:
            self._heard[path] = time.monotonic()
        return answer
