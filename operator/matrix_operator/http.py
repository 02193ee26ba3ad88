"""HTTP to Ray and to the runtime, with httpx2. Every call has a deadline and ends in an answer or a ForeignFault."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx2

from matrix_operator.errors import ForeignFault

CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that arrived whole. `text` is what came, for messages."""

    status: int
    text: str

    def json(self, what: str) -> Any:
        """The body as JSON. Raises ForeignFault if it is not."""
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise ForeignFault(f"{what} answered HTTP {self.status} with something that is not JSON: {self.text[:80]!r}") from error


class HttpClient:
    """Keeps connections; one per controller."""

    def __init__(self) -> None:
        limits = httpx2.Limits(max_keepalive_connections=32, keepalive_expiry=30.0)
        self._client = httpx2.AsyncClient(limits=limits, trust_env=False, follow_redirects=False)

    async def request(self, method: str, url: str, *, token: str, seconds: float, body: object | None = None) -> Answer:
        """Raises ForeignFault when no whole answer came within `seconds`."""
        headers = {"Authorization": f"Bearer {token}"}
        timeout = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        try:
            answer = await self._client.request(method, url, headers=headers, json=body, timeout=timeout)
        except httpx2.TimeoutException as error:
            raise ForeignFault(f"{method} {url} did not answer within {seconds:g} s") from error
        except httpx2.HTTPError as error:
            raise ForeignFault(f"{method} {url} failed: {error or type(error).__name__}") from error
        return Answer(answer.status_code, answer.text)

    async def close(self) -> None:
        await self._client.aclose()
