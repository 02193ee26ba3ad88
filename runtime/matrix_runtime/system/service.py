"""The directory over HTTP: GET /matrix/v1/state and /matrix/v1/targets, POST /matrix/v1/replicas and /matrix/v1/gateway,
GET /matrix/v1/health (see matrix_proto.state)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from matrix_proto.state import GATEWAY_PATH, HEALTH_PATH, REPLICAS_PATH, STATE_PATH, TARGETS_PATH, Gateway, Replica, State, WireModel
from matrix_runtime.auth import Gate, error_body
from matrix_runtime.system.bell import Bell
from matrix_runtime.system.directory import Directory
from matrix_runtime.system.probe import closed
from matrix_runtime.system.targets import targets
from matrix_runtime.tokens import CLIENT_TOKEN, RAY_TOKEN, TokenFile

LONGEST_WAIT_SECONDS = 60.0
SWEEP_SECONDS = 0.5

Report = TypeVar("Report", bound=WireModel)


class DirectoryService:
    """Answers for one Directory. `about` is the State without revision, replicas and gateway: versions, session and instance."""

    def __init__(self, directory: Directory, about: State) -> None:
        self._directory = directory
        self._about = about
        self.changed = Bell()
        """Rings when the revision has moved."""

    def app(self, secrets_dir: Path) -> ASGIApp:
        """The ASGI app, behind its gate: the state and the targets for either token, a report for Ray's."""
        routes = [
            Route(STATE_PATH, self._get_state),
            Route(TARGETS_PATH, self._get_targets),
            Route(REPLICAS_PATH, self._post_replica, methods=["POST"]),
            Route(GATEWAY_PATH, self._post_gateway, methods=["POST"]),
            Route(HEALTH_PATH, self._get_health),
        ]
        ray, client = TokenFile(secrets_dir / RAY_TOKEN), TokenFile(secrets_dir / CLIENT_TOKEN)
        readers, reporters = dict.fromkeys((STATE_PATH, TARGETS_PATH), (ray, client)), dict.fromkeys((REPLICAS_PATH, GATEWAY_PATH), (ray,))
        return Gate(Starlette(routes=routes), {**readers, **reporters, HEALTH_PATH: ()})

    async def sweep_forever(self) -> None:
        """Lets the directory notice silence, and closed ports."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            before = self._directory.revision
            self._directory.sweep()
            await asyncio.gather(*map(self._probe, self._directory.late()))
            self._tell_since(before)

    async def _probe(self, replica: Replica) -> None:
        if replica.http_url and await closed(replica.http_url):
            self._directory.refused(replica)

    def state(self) -> State:
        """The state now."""
        now = {"revision": self._directory.revision, "replicas": self._directory.view(), "gateway": self._directory.gateway()}
        return self._about.model_copy(update=now)

    async def _get_state(self, request: Request) -> Response:
        try:
            since = int(request.query_params.get("since", "-1"))
            wait = min(float(request.query_params.get("wait", "0")), LONGEST_WAIT_SECONDS)
        except ValueError:
            return _refusal("since must be a whole number and wait a number of seconds, as in ?since=12&wait=30")
        if request.query_params.get("instance", self._about.instance) == self._about.instance:
            await self._newer_than(since, wait)
        return Response(self.state().model_dump_json(by_alias=True), media_type="application/json")

    async def _newer_than(self, since: int, wait: float) -> None:
        deadline = time.monotonic() + wait
        while self._directory.revision == since and (left := deadline - time.monotonic()) > 0:
            await self.changed.wait(left)

    async def _get_targets(self, request: Request) -> Response:
        return JSONResponse(targets(self.state()))

    async def _post_replica(self, request: Request) -> Response:
        return await self._take(request, Replica, self._directory.report)

    async def _post_gateway(self, request: Request) -> Response:
        return await self._take(request, Gateway, self._directory.report_gateway)

    async def _take(self, request: Request, shape: type[Report], report: Callable[[Report], None]) -> Response:
        try:
            news = shape.model_validate_json(await request.body())
        except ValidationError as error:
            return _refusal(f"not a {shape.__name__}: {error.errors(include_url=False)[0]['msg']}")
        before = self._directory.revision
        report(news)
        self._tell_since(before)
        return JSONResponse({"revision": self._directory.revision})

    async def _get_health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def _tell_since(self, revision: int) -> None:
        if self._directory.revision != revision:
            self.changed.ring()


def _refusal(message: str) -> Response:
    return JSONResponse(error_body(message, 400), 400)
