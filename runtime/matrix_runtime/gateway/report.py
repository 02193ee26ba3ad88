"""Tells the directory how the gateway does: each second, and with every change."""

from __future__ import annotations

import asyncio
import contextlib

import httpx2

from matrix_proto.state import GATEWAY_PATH, HEARTBEAT_SECONDS, Gateway
from matrix_runtime.system.bell import Bell
from matrix_runtime.tokens import TokenFile

POST_SECONDS = 2.0


class GatewayReporter:
    """The directory's absence is survived: it hears the next report."""

    def __init__(self, state_url: str, token: TokenFile, first: Gateway) -> None:
        self._url = state_url.rstrip("/") + GATEWAY_PATH
        self._token = token
        self._bell = Bell()
        self.said = first
        """What is being said now."""

    def say(self, gateway: Gateway) -> None:
        """From here on."""
        if gateway != self.said:
            self.said = gateway
            self._bell.ring()

    async def run(self) -> None:
        """For ever."""
        async with httpx2.AsyncClient(timeout=POST_SECONDS, trust_env=False) as client:
            while True:
                posted = self.said
                with contextlib.suppress(httpx2.HTTPError, OSError):  # TimeoutError is one of the latter
                    await self._post(client, posted)
                if posted == self.said:
                    await self._bell.wait(HEARTBEAT_SECONDS)

    async def _post(self, client: httpx2.AsyncClient, gateway: Gateway) -> None:
        headers = {"Authorization": f"Bearer {self._token.read()}", "Content-Type": "application/json"}
        async with asyncio.timeout(POST_SECONDS * 2):
            await client.post(self._url, content=gateway.model_dump_json(by_alias=True), headers=headers)
