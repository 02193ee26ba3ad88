"""Requests of aiohttp that authenticate as a connection to the API server does, whose ways are written for httpx2."""

from __future__ import annotations

import aiohttp
import httpx2

UNAUTHORIZED = 401
_ANYWHERE = httpx2.URL("https://kubernetes")


async def authenticated(auth: httpx2.Auth, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """An authentication sets a header, and says after a refusal whether to try again: with a token file that was replaced, or a plugin
    that is run once more. What it raises comes through."""
    stand_in = httpx2.Request(request.method, _ANYWHERE)
    flow = auth.async_auth_flow(stand_in)
    try:
        await anext(flow)
        while True:
            if "Authorization" in stand_in.headers:  # not when a plugin has printed a certificate alone
                request.headers["Authorization"] = stand_in.headers["Authorization"]
            answer = await send(request)
            if answer.status != UNAUTHORIZED:
                return answer
            try:
                await flow.asend(httpx2.Response(UNAUTHORIZED, request=stand_in))
            except StopAsyncIteration:
                return answer
            answer.release()
    finally:
        await flow.aclose()
