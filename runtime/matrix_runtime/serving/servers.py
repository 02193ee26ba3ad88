"""The two servers of an engine host, HTTP and gRPC, on one loop: started, drained and ended together."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import ASGIApp

from matrix_proto.errors import ErrorReason
from matrix_proto.state import Load
from matrix_runtime.addresses import host_port
from matrix_runtime.auth import Gate, Rules
from matrix_runtime.engines.port import HEALTH_PATH, OFFERED_PATHS, Engine
from matrix_runtime.engines.words import ENGINE_DIED
from matrix_runtime.errors import ApiError
from matrix_runtime.http_server import HttpServer, listen
from matrix_runtime.ongoing import Ongoing
from matrix_runtime.serving.http_front import HttpFront
from matrix_runtime.serving.inference import InferenceServer
from matrix_runtime.serving.meter import Meter
from matrix_runtime.tokens import TokenFile

LAST_WORD_SECONDS = 1.0
"""For telling the callers that their requests have ended."""
_DRAINING = ApiError(ErrorReason.DRAINING, "this replica is shutting down; ask another one, or again in a moment")
_CUT_OFF = ApiError(ErrorReason.BROKE_OFF, "this replica is shutting down, and the answer took longer than drainSeconds allows; ask again")


class Servers:
    """Both servers of one engine, and what they have in common."""

    def __init__(self, engine: Engine, model: str, token: TokenFile) -> None:
        self.meter = Meter(model)
        self._engine = engine
        self._token = token
        self._ongoing = Ongoing(self.meter.begun, self.meter.ended)
        self._http: HttpServer | None = None
        self._grpc: InferenceServer | None = None

    async def start(self, host: str, announced_host: str) -> tuple[str, str]:
        """After the engine has loaded. Returns the HTTP server's URL and the gRPC server's address, as others reach what binds `host`.
        Raises OSError."""
        app = guarded(HttpFront(self._engine.app(), self._ongoing, self.meter), self._token)
        listener = listen(host, 0)
        self._http = HttpServer(app, listener)
        self._grpc = InferenceServer(self._engine, self._ongoing, self.meter, self._token)
        await self._http.start()
        http_port, grpc_port = listener.getsockname()[1], await self._grpc.start(host)
        return f"http://{host_port(announced_host, http_port)}", host_port(announced_host, grpc_port)

    def load(self) -> Load:
        """How busy the replica is."""
        return self._engine.busy().model_copy(update={"ongoing": self._ongoing.count})

    async def drain(self, seconds: float) -> None:
        """Refuses what is new, so that it is asked elsewhere; finishes what is in flight for so long, ends the rest, then both servers."""
        self._ongoing.refusal = _DRAINING
        if not await self._ongoing.idle(seconds):
            self._ongoing.end_all(_CUT_OFF)
        await self._end()

    async def fail(self) -> None:
        """The engine is dead: ends all that is in flight with that."""
        self._ongoing.end_all(ENGINE_DIED)
        await self._end()

    async def _end(self) -> None:
        await self._ongoing.idle(LAST_WORD_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await asyncio.gather(self._stop_grpc(), self._stop_http())

    async def _stop_grpc(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(LAST_WORD_SECONDS / 2)

    async def _stop_http(self) -> None:
        if self._http is not None:
            await self._http.stop()


def guarded(app: ASGIApp, token: TokenFile) -> Gate:
    """The app behind the gate: what is offered asks for the client token, a bare health look for none."""
    rules: Rules = {**dict.fromkeys(OFFERED_PATHS, (token,)), HEALTH_PATH: ()}
    return Gate(app, rules)
