"""The one module that knows the HTTP library. Errors come out as those of errors.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2

from matrix_client.errors import Refused, RequestError, RequestTimeout, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS = 5.0


class NotConnected(Unreachable):
    """Nothing was sent yet, or the server asked to try elsewhere: safe to repeat."""


class Http:
    """JSON over HTTP with a bearer token. Proxies of the environment are not used: the token is for the replica alone."""

    def __init__(self) -> None:
        self._clients: dict[bool, httpx2.AsyncClient] = {}

    async def post(self, url: str, token: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """POST and read the whole answer. `timeout` (seconds) bounds each wait for the server."""
        with _told_in_our_words(url, timeout):
            response = await self._client(url).post(url, json=body, headers=_headers(token), timeout=_timeout(timeout))
        _check(response, response.text)
        return _json_object(response, url)

    async def stream(self, url: str, token: str, body: Mapping[str, Any], timeout: float) -> AsyncGenerator[dict[str, Any], None]:
        """POST and yield the JSON of each server-sent event up to `[DONE]`. An end without it is Unreachable."""
        with _told_in_our_words(url, timeout):
            async with self._client(url).stream("POST", url, json=body, headers=_headers(token), timeout=_timeout(timeout)) as response:
                if response.is_error:
                    _check(response, (await response.aread()).decode(errors="replace"))
                async for event in httpx2.EventSource(response):
                    if event.data == "[DONE]":
                        return
                    yield _event_object(event, url)
        raise Unreachable(f"{url} broke off in the middle of the answer; ask again")

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _client(self, url: str) -> httpx2.AsyncClient:
        """One for http, one for https: reading the certificates of the system takes longer than a short answer."""
        secure = url.startswith("https:")
        if secure not in self._clients:
            self._clients[secure] = httpx2.AsyncClient(trust_env=False, verify=secure)
        return self._clients[secure]


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _timeout(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))


@contextmanager
def _told_in_our_words(url: str, timeout: float) -> Iterator[None]:
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise NotConnected(f"{url} can't be reached ({error or type(error).__name__}); see `matrix get mxd`") from error
    except httpx2.TimeoutException as error:
        raise RequestTimeout(f"{url} did not answer within {timeout:g} s; allow more time, or see `matrix logs` of the model") from error
    except httpx2.HTTPError as error:
        raise Unreachable(f"{url} broke off ({error or type(error).__name__}); ask again") from error


def _check(response: httpx2.Response, text: str) -> None:
    """Raise for what is not a 2xx answer, in the server's own words."""
    if response.is_success:
        return
    words = _error_words(response, text)
    if response.status_code == 503:
        raise NotConnected(f"{response.url} is not taking requests now: {words}")
    if response.status_code in {401, 403}:
        raise Refused(f"{response.url} refuses the cluster's client token: {words}", response.status_code)
    if response.status_code >= 500:
        raise RequestError(f"{response.url} failed with HTTP {response.status_code}: {words}; see `matrix logs` of the model")
    raise Refused(f"the model refused the request (HTTP {response.status_code}): {words}", response.status_code)


def _error_words(response: httpx2.Response, text: str) -> str:
    """The message of an OpenAI error body ({"error": {"message": ...}}, or flat), else the start of the text."""
    try:
        body = response.json()
    except ValueError:
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(message or text or response.reason_phrase).split())[:500]


def _json_object(response: httpx2.Response, url: str) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError as error:
        raise RequestError(f"{url} answered something that is not JSON; is another program on that port?") from error
    if not isinstance(body, dict):
        raise RequestError(f"{url} answered JSON of another form than a chat completion; is another program on that port?")
    return body


def _event_object(event: httpx2.ServerSentEvent, url: str) -> dict[str, Any]:
    try:
        body = event.json()
    except ValueError as error:
        raise RequestError(f"{url} sent an event that is not JSON; is another program on that port?") from error
    if not isinstance(body, dict):
        raise RequestError(f"{url} sent an event of another form than a chat chunk; is another program on that port?")
    if "error" in body:
        raise RequestError(f"{url} failed in the middle of the answer: {body['error']}")
    return body
