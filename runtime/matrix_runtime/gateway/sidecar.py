"""What HAProxy hands over to Python: questions about models, requests whose model it can't tell for certain, and those of a model that has
no replica up. HAProxy stands in front: what arrives here has a key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import httpx2
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from matrix_proto.errors import MODEL_HEADER, ErrorReason
from matrix_runtime.gateway import limits, words
from matrix_runtime.gateway.bodies import Bodies, Refused
from matrix_runtime.gateway.body import NoModel, find_model
from matrix_runtime.gateway.forward import Forwarder
from matrix_runtime.gateway.paths import INFERENCE_PATHS
from matrix_runtime.gateway.refusals import Refusal
from matrix_runtime.gateway.settings import ServedModel
from matrix_runtime.gateway.waiting import Board, WaitingRoom, scaled_to_zero, unknown_model, wait_seconds
from matrix_runtime.version import runtime_version

WAIT_HEADER = "x-matrix-wait-seconds"
CLIENT_GONE = 499
"""Nobody reads it; nginx's number for it."""

Value = TypeVar("Value")


class Sidecar:
    """The ASGI app of the gateway's own socket. `metrics` writes Prometheus' text."""

    def __init__(self, board: Board, forwarder: Forwarder, room: WaitingRoom, metrics: Callable[[], Awaitable[bytes]]) -> None:
        self._board = board
        self._forwarder = forwarder
        self._room = room
        self._metrics = metrics
        self._bodies = Bodies()
        self._started = int(time.time())

    def app(self) -> Starlette:
        """Errors have OpenAI's form."""
        routes = [
            Route("/v1/models", self._list),
            Route("/v1/models/{name:path}", self._one),
            Route("/version", self._version),
            Route("/metrics", self._scrape),
            *(Route(path, self._work, methods=["POST"]) for path in sorted(INFERENCE_PATHS)),
        ]
        return Starlette(routes=routes, exception_handlers={Refused: _refused, httpx2.HTTPError: _broken, Exception: _failed})

    async def _list(self, request: Request) -> Response:
        models = [self._described(name) for name in self._board.names()]
        return JSONResponse({"object": "list", "data": models})

    async def _one(self, request: Request) -> Response:
        return JSONResponse(self._described(self._declared(request.path_params["name"]).name))

    async def _version(self, request: Request) -> Response:
        return JSONResponse({"version": runtime_version()})

    async def _scrape(self, request: Request) -> Response:
        return PlainTextResponse(await self._metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _work(self, request: Request) -> Response:
        try:
            async with self._bodies.read(request) as body:
                return await _unless_gone(request, self._answer(request, body))
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)

    async def _answer(self, request: Request, body: bytes) -> Response:
        deadline = time.monotonic() + _wait(request)
        model = self._declared(_model(request, body))
        if model.replicas == 0 and not self._board.up(model.application):
            raise Refused(scaled_to_zero(model.name))
        tried = False
        while True:
            if tried or not self._board.up(model.application):
                await self._wait_for(model, deadline, tried)
            if answer := await self._forwarder.send(request, body, model, self._backend(model)):
                return answer
            tried = True

    async def _wait_for(self, model: ServedModel, deadline: float, tried: bool) -> None:
        """Until a replica is up; `tried`: one seemed to be, and none took the request. Raises Refused."""
        if self._room.full:
            raise Refused(_CROWDED)
        with self._room.place(model.name) as place:
            if tried and time.monotonic() >= deadline:
                raise Refused(await self._room.in_vain(model, place))
            if tried:
                await asyncio.sleep(_PAUSE_SECONDS)
            if refusal := await self._room.until_up(model, place, deadline):
                raise Refused(refusal)

    def _declared(self, name: str) -> ServedModel:
        model = self._board.model(name)
        if model is None:
            raise Refused(unknown_model(name, self._board.names()))
        return model

    def _backend(self, model: ServedModel) -> str:
        backend = self._board.backend(model.name)
        if backend is None:
            raise Refused(_NO_SLOT)
        return backend

    def _described(self, name: str) -> dict[str, object]:
        ready = self._board.up(self._declared(name).application)
        return {"id": name, "object": "model", "created": self._started, "owned_by": "matrix", "ready": ready}


_PAUSE_SECONDS = 0.2
_CROWDED = Refusal(ErrorReason.NOT_READY, f"{limits.WAITING_REQUESTS} requests wait for replicas already; ask again", retry_after="5")
_NO_SLOT = Refusal(
    ErrorReason.NOT_READY,
    f"a gateway serves at most {limits.SLOTS} models for each routing policy: give this one another policy",
    retry_after="60",
)


def _model(request: Request, body: bytes) -> str:
    named = request.headers.get(MODEL_HEADER)
    try:
        return named or find_model(body, request.headers.get("content-type", ""))
    except NoModel as error:
        raise Refused(Refusal(ErrorReason.BAD_REQUEST, str(error))) from None


def _wait(request: Request) -> float:
    try:
        return wait_seconds(request.headers.get(WAIT_HEADER))
    except ValueError:
        raise Refused(Refusal(ErrorReason.BAD_REQUEST, f"{WAIT_HEADER} must be a number of seconds, as in 30")) from None


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Value]) -> Value:
    """The work's result; it is cancelled, and ClientDisconnect raised, when the client leaves before."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return await working
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def response(refusal: Refusal) -> Response:
    """A refusal as a response."""
    return Response(refusal.body(), refusal.http_status, refusal.headers(), media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return response(error.refusal)


async def _broken(request: Request, error: Exception) -> Response:
    return response(words.BY_STATUS[502])


async def _failed(request: Request, error: Exception) -> Response:
    return response(words.BY_STATUS[500])
