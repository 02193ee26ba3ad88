"""HTTP to Ray and to the runtime. Every call has a deadline and ends in an answer or a ForeignFault."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from matrix_operator.errors import ForeignFault
from matrix_store.wire import loads

CONNECT_SECONDS = 2.0
KEEP_ALIVE_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that arrived whole. `text` is what came, for messages."""

    status: int
    text: str

    def json(self, what: str) -> Any:
        """The body as JSON. Raises ForeignFault if it is not."""
        try:
            return loads(self.text)
        except ValueError as error:
            raise ForeignFault(f"{what} answered HTTP {self.status} with something that is not JSON: {self.text[:80]!r}") from error


class Http(Protocol):
    """A way to the clusters."""

    async def request(self, method: str, url: str, *, token: str, seconds: float, body: object | None = None) -> Answer:
        """`token` is that of whoever answers: Ray's or ours. Raises ForeignFault when no whole answer came within `seconds`."""
        ...

    async def close(self) -> None: ...


class HttpClient:
    """Straight there, with aiohttp. Keeps connections; one per controller, used in one event loop. No proxy of the environment is used:
    what it asks is ours."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def request(self, method: str, url: str, *, token: str, seconds: float, body: object | None = None) -> Answer:
        """As Http.request."""
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS))
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._open().request(
                method, url, headers=headers, json=body, timeout=timeout, allow_redirects=False, raise_for_status=False
            ) as answer:
                return Answer(answer.status, await answer.text(errors="replace"))
        except TimeoutError as error:
            raise ForeignFault(f"{method} {url} did not answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ForeignFault(f"{method} {url} failed: {_reason(error)}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._session


class EitherHttp:
    """The way to clusters of both sorts: a path leads through the API server, a URL straight there."""

    def __init__(self, paths: Http) -> None:
        self._paths = paths
        self._straight = HttpClient()

    async def request(self, method: str, url: str, *, token: str, seconds: float, body: object | None = None) -> Answer:
        """As Http.request."""
        http = self._paths if url.startswith("/") else self._straight
        return await http.request(method, url, token=token, seconds=seconds, body=body)

    async def close(self) -> None:
        await self._straight.close()
        await self._paths.close()


def _reason(error: Exception) -> str:
    """In a few words: aiohttp's own name the address once more."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number and number > 0 else str(error) or type(error).__name__
