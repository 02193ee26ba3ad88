from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from httpx2 import ASGITransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from matrix_proto.errors import REASON_KEY, RETRYABLE_KEY, ErrorReason
from matrix_runtime.engines.words import reason_of
from matrix_runtime.errors import ApiError
from matrix_runtime.ongoing import Ongoing
from matrix_runtime.serving.http_front import HttpFront
from matrix_runtime.serving.meter import Meter

TOO_LONG = "This model's maximum context length is 1024 tokens. However, your prompt contains at least 1025 input tokens"


class World:
    """The front, over an app that answers as the body's first word says."""

    def __init__(self) -> None:
        meter = Meter("m")
        self.meter = meter
        self.ongoing = Ongoing(meter.begun, meter.ended)
        self.release = asyncio.Event()
        self.streaming = asyncio.Event()
        """The first piece of a stream was taken."""
        routes = [Route("/v1/completions", self._answer, methods=["POST"]), Route("/health", self._health)]
        self.front = HttpFront(Starlette(routes=routes), self.ongoing, meter)
        self.http = httpx2.AsyncClient(transport=ASGITransport(app=self.front), base_url="http://replica")

    async def _answer(self, request: Request) -> Response:
        text = (await request.body()).decode()
        if text.isdecimal():
            return JSONResponse({"error": {"message": TOO_LONG if text == "400" else "no"}}, int(text))
        if text == "stream":
            return StreamingResponse(self._stream(), media_type="text/event-stream")
        await self.release.wait()
        return PlainTextResponse("done")

    async def _stream(self) -> AsyncIterator[str]:
        yield "data: one\n\n"
        self.streaming.set()
        await self.release.wait()
        yield "data: two\n\n"

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("well")

    async def post(self, content: str) -> httpx2.Response:
        return await self.http.post("/v1/completions", content=content)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.ongoing.count != count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (400, "ContextTooLong", "0"),
        (422, "BadRequest", "0"),
        (404, "UnknownModel", "0"),
        (500, "EngineFailed", "1"),
        (429, "RateLimited", "1"),
    ],
)
def test_an_engines_error_gets_its_reason(status: int, reason: str, retryable: str) -> None:
    async def run() -> None:
        answer = await World().post(str(status))
        assert answer.status_code == status and "message" in answer.json()["error"]
        assert (answer.headers[REASON_KEY], answer.headers[RETRYABLE_KEY]) == (reason, retryable)

    asyncio.run(run())


def test_what_the_app_does_not_have_is_told_in_openais_form() -> None:
    async def run() -> None:
        world = World()
        for answer in (await world.http.post("/v1/embeddings"), await world.http.get("/v1/completions")):
            assert (answer.status_code, answer.headers[REASON_KEY]) == (404, "NotOffered")
            assert "does not offer" in answer.json()["error"]["message"]

    asyncio.run(run())


def test_while_draining_work_is_refused_and_a_look_is_not() -> None:
    async def run() -> None:
        world = World()
        world.ongoing.refusal = ApiError(ErrorReason.DRAINING, "going")
        answer = await world.post("x")
        assert (answer.status_code, answer.headers["retry-after"], answer.headers[RETRYABLE_KEY]) == (503, "1", "1")
        assert (await world.http.get("/health")).text == "well"
        assert 'code="503"' in (await world.http.get("/metrics")).text

    asyncio.run(run())


def test_what_is_ended_tells_its_caller_as_an_answer_or_as_the_last_event() -> None:
    async def run() -> None:
        world = World()
        waiting, streaming = asyncio.create_task(world.post("wait")), asyncio.create_task(world.post("stream"))
        await world.until(2)
        await world.streaming.wait()
        world.ongoing.end_all(ApiError(ErrorReason.BROKE_OFF, "cut off"))
        answer, stream = await waiting, await streaming
        assert (answer.status_code, answer.json()["error"]["message"]) == (502, "cut off")
        events = stream.text.split("\n\n")
        assert events[0] == "data: one" and '"cut off"' in events[1] and stream.status_code == 200
        assert world.ongoing.count == 0

    asyncio.run(run())


def test_requests_in_flight_are_counted_to_the_end_of_their_streams() -> None:
    async def run() -> None:
        world = World()
        tasks = [asyncio.create_task(world.post(kind)) for kind in ("wait", "stream")]
        await world.until(2)
        world.release.set()
        texts = [answer.text for answer in await asyncio.gather(*tasks)]
        assert texts == ["done", "data: one\n\ndata: two\n\n"] and world.ongoing.count == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [
        (400, TOO_LONG, ErrorReason.CONTEXT_TOO_LONG),
        (400, "Input length (9) exceeds model's maximum context length (8).", ErrorReason.CONTEXT_TOO_LONG),
        (400, "The decoder prompt (length 9) is longer than the maximum model length of 8.", ErrorReason.CONTEXT_TOO_LONG),
        (400, "top_p must be in (0, 1]", ErrorReason.BAD_REQUEST),
        (413, "", ErrorReason.TOO_LARGE),
        (501, "", ErrorReason.NOT_OFFERED),
        (503, "", ErrorReason.ENGINE_FAILED),
        (504, "", ErrorReason.DEADLINE),
    ],
)
def test_a_status_and_words_have_a_reason(status: int, words: str, reason: ErrorReason) -> None:
    assert reason_of(status, words) is reason
