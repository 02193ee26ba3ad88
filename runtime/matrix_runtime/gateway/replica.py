"""The gateway's Serve deployment: keeps HAProxy in line with the directory and the control plane's settings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import ray
from pydantic import ValidationError

from matrix_client.directory_watch import DirectoryWatch
from matrix_crds.base import LenientModel
from matrix_proto.state import Gateway as Report
from matrix_runtime.addresses import announced, from_here, host_port
from matrix_runtime.gateway.board import KnownBoard, look_over_http
from matrix_runtime.gateway.gateway import Gateway
from matrix_runtime.gateway.report import GatewayReporter
from matrix_runtime.gateway.settings import GatewaySettings
from matrix_runtime.tokens import CLIENT_TOKEN, RAY_TOKEN, TokenFile

RETRY_SECONDS = 1.0

logger = logging.getLogger("ray.serve")


class GatewayArguments(LenientModel):
    """Those of mx-system that the gateway needs (see SystemArguments)."""

    bind_host: str
    state_url: str
    directory_port: int
    gateway_port: int
    secrets_dir: str


class GatewayReplica:
    """The deployment's one replica. Its start can't fail: that would be final for Serve, and a port is free a moment later."""

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]  # Ray awaits it
        parsed = GatewayArguments.model_validate(arguments)
        secrets = Path(parsed.secrets_dir)
        token = TokenFile(secrets / CLIENT_TOKEN)
        self._loop = asyncio.get_running_loop()
        self._watch = DirectoryWatch(host_port(from_here(parsed.bind_host), parsed.directory_port), token.read, self._ring)
        self._board = KnownBoard(self._watch, look_over_http(parsed.state_url, token))
        self._reporter = GatewayReporter(parsed.state_url, TokenFile(secrets / RAY_TOKEN), Report(ready=False, message="starting"))
        self._gateway: Gateway | None = None
        self._tasks = [asyncio.create_task(work) for work in (self._watch.run(), self._reporter.run(), self._serve(parsed))]

    def reconfigure(self, user_config: Any) -> None:
        """Never raises: Serve would kill a replica that runs."""
        try:
            settings = GatewaySettings.model_validate(user_config or {})
        except ValidationError as error:
            logger.error("user_config is ignored: %s", error)
            return
        self._loop.call_soon_threadsafe(self._board.configure, settings)

    def check_health(self) -> None:
        """Raises when it must be started anew."""
        if any(task.done() for task in self._tasks):
            raise RuntimeError("the gateway has stopped")

    async def __del__(self) -> None:
        """Serve's hook for a graceful end."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._gateway is not None:
            await self._gateway.stop()

    async def _serve(self, arguments: GatewayArguments) -> None:
        while self._gateway is None:
            try:
                secrets, host, port = Path(arguments.secrets_dir), arguments.bind_host, arguments.gateway_port
                url = f"http://{host_port(announced(host, ray.util.get_node_ip_address), port)}"
                self._gateway = Gateway(host, port, url, secrets, self._board, self._reporter.say)
            except OSError as error:
                self._reporter.say(Report(ready=False, message=f"no directory for HAProxy can be made: {error}"))
                await asyncio.sleep(RETRY_SECONDS)
        await self._gateway.run()

    def _ring(self) -> None:
        self._board.ring()
