"""Who waits in the side-car, and who is in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from matrix_runtime.gateway.settings import ServedModel
from matrix_runtime.gateway.sidecar import Sidecar
from matrix_runtime.gateway.waiting import WaitingRoom

MODELS = {name: ServedModel(name=name, application=f"mx-md-{name}") for name in ("up", "starting")}


class FakeBoard:
    """One model that is up, and one that never will be."""

    def model(self, name: str) -> ServedModel | None:
        return MODELS.get(name)

    def names(self) -> list[str]:
        return sorted(MODELS)

    def backend(self, name: str) -> str | None:
        return "least-0"

    def up(self, application: str) -> bool:
        return application == "mx-md-up"

    async def news(self, seconds: float) -> None:
        await asyncio.sleep(0.01)

    async def describe(self, application: str) -> str:
        return "it is loading"


class FakeForwarder:
    """A replica that refuses so many times, and then answers."""

    def __init__(self, refusals: int, sending: Callable[[], None]) -> None:
        self.refusals = refusals
        self.sending = sending

    async def send(self, request: Request, body: bytes, model: ServedModel, backend: str) -> Response | None:
        self.sending()
        self.refusals -= 1
        return None if self.refusals >= 0 else PlainTextResponse("hello")


def ask(room: WaitingRoom, forwarder: FakeForwarder, model: str, wait: str = "20") -> httpx2.Response:
    async def no_metrics() -> bytes:
        return b""

    async def run() -> httpx2.Response:
        app = Sidecar(FakeBoard(), forwarder, room, no_metrics).app()  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway") as client:
            return await client.post("/v1/completions", json={"model": model}, headers={"x-matrix-wait-seconds": wait})

    return asyncio.run(run())


def test_a_crowd_that_waits_for_one_model_is_not_in_the_way_of_another() -> None:
    room = WaitingRoom(FakeBoard(), most=1)
    with room.place("starting"):
        assert ask(room, FakeForwarder(0, lambda: None), "up").text == "hello"
        crowded = ask(room, FakeForwarder(0, lambda: None), "starting")
    assert crowded.status_code == 503 and "wait for replicas already" in crowded.text


def test_a_request_that_a_replica_works_on_does_not_count_as_waiting() -> None:
    room = WaitingRoom(FakeBoard())
    counts: list[int] = []
    assert ask(room, FakeForwarder(1, lambda: counts.append(room.count("up"))), "up").text == "hello"
    assert counts == [0, 0] and room.waited_seconds["up"] > 0


def test_who_is_taken_by_no_replica_in_time_is_told() -> None:
    answer = ask(WaitingRoom(FakeBoard()), FakeForwarder(1000, lambda: None), "up", wait="0.3")
    assert answer.status_code == 503
    assert "no replica of 'up' is ready: it is loading (number 1 of 1 that wait)" in answer.json()["error"]["message"]
