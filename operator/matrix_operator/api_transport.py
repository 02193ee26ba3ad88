"""Calls to the API server by aiohttp: the operator makes thousands, and each costs it less than half of what it would by httpx2."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

from matrix_operator.credentials import authenticated
from matrix_store.kubernetes.connection import AGENT, CONNECT_SECONDS, REQUEST_SECONDS, Connection
from matrix_store.kubernetes.faults import Reply, refusal
from matrix_store.kubernetes.transport import HttpxTransport, LineSplitter, Transport

KEEP_ALIVE_SECONDS = 30.0
"""Less than after what an API server closes an idle connection (90 s, k8s.io/apiserver's IdleTimeout)."""


def transport(connection: Connection, connections: int) -> Transport:
    """`connections`: how many calls and watches may be under way. Where a proxy leads to the server it is httpx2's, which knows more
    kinds of them."""
    proxied = connection.proxy is not None or _is_behind_a_proxy(connection.server)
    return HttpxTransport(connection.http) if proxied else AiohttpTransport(connection, connections)


class AiohttpTransport:
    """Implements matrix_store.kubernetes.transport.Transport; belongs to one event loop."""

    def __init__(self, connection: Connection, connections: int) -> None:
        self._connection = connection
        self._connections = connections
        self._server = connection.server.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self, method: str, path: str, params: Mapping[str, str], content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        url = self._url(path, params)
        with _plain_errors():
            async with self._open().request(method, URL(url, encoded=True), data=content, headers=headers, allow_redirects=False) as answer:
                return Reply(answer.status, answer.headers, await answer.read(), url)

    async def lines(self, path: str, params: Mapping[str, str], seconds: float) -> AsyncGenerator[bytes, None]:
        url = self._url(path, params)
        timeout = aiohttp.ClientTimeout(connect=seconds, sock_connect=CONNECT_SECONDS, sock_read=seconds)
        with _plain_errors():
            async with self._open().get(URL(url, encoded=True), timeout=timeout, allow_redirects=False) as answer:
                if answer.status >= 400:
                    raise refusal(Reply(answer.status, answer.headers, await answer.read(), url))
                splitter = LineSplitter()
                async for piece in answer.content.iter_any():
                    for line in splitter.whole(piece):
                        yield line
                if splitter.rest:
                    yield splitter.rest

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._connection.http.aclose()

    def _url(self, path: str, params: Mapping[str, str]) -> str:
        return f"{self._server}{path}?{urlencode(params)}" if params else self._server + path

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls, auth = self._connection.tls, self._connection.auth
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=tls or True, keepalive_timeout=KEEP_ALIVE_SECONDS),
                headers=[("User-Agent", AGENT), *self._connection.headers],
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(connect=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=REQUEST_SECONDS),
                middlewares=() if auth is None else (_asking_with(auth),),
            )
        return self._session


def _asking_with(auth: httpx2.Auth) -> aiohttp.ClientMiddlewareType:
    async def ask(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await authenticated(auth, request, send)

    return ask


@contextmanager
def _plain_errors() -> Iterator[None]:
    """aiohttp's own in those of the standard library, whose words are for people."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise error.certificate_error from error
    except TimeoutError:
        raise
    except aiohttp.ClientOSError as error:
        raise OSError(error.errno, os.strerror(error.errno) if error.errno else str(error)) from error.__cause__
    except aiohttp.ClientError as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def _is_behind_a_proxy(server: str) -> bool:
    """As the environment has it (HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
    address = urlsplit(server)
    return bool({address.scheme, "all"} & set(getproxies())) and not proxy_bypass(address.hostname or "")
