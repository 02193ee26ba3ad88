"""Events are written behind the back of whoever records them: none is lost because nothing can be written for a while."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import httpx2
import pytest

from matrix_crds.keys import ObjectKey
from matrix_store.kubernetes import events
from matrix_store.kubernetes.events import Events
from matrix_store.port import Event, EventType
from tests.unit.store.kubernetes.server import api, status
from tests.unit.store.support import run
from tests.waiting import until

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LAB = ObjectKey("MatrixCluster", "default", "lab")
AT_ONCE_SECONDS = 20.0
"""Half of what a wait would take."""


class Server:
    """Takes events while `takes` says nothing else."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.asked = 0
        self.takes: Callable[[], httpx2.Response | None] = lambda: None

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        refused = self.takes()
        if refused is None:
            self.stored.append(json.loads(request.content)["message"])
        return refused or httpx2.Response(201, json={})


def away() -> httpx2.Response:
    raise httpx2.ConnectError("connection refused")


def event(message: str) -> Event:
    return Event(LAB, "u", EventType.NORMAL, "Looked", message, NOW, NOW)


def recording(scenario: Callable[[Server, Events], Awaitable[None]]) -> None:
    async def body() -> None:
        server = Server()
        writer = Events(api(server.answer))
        try:
            await scenario(server, writer)
        finally:
            begun = time.monotonic()
            await writer.close()
            assert time.monotonic() - begun < AT_ONCE_SECONDS

    run(body())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(events, "FLUSH_SECONDS", 2 * AT_ONCE_SECONDS)


@pytest.mark.parametrize("refusal", [away, lambda: status(500, "InternalError", "etcd is away")], ids=["away", "500"])
def test_a_server_that_is_away_is_waited_out_and_the_order_stays(refusal: Callable[[], httpx2.Response]) -> None:
    async def scenario(server: Server, writer: Events) -> None:
        server.takes = refusal
        for message in "abc":
            writer.record(event(message))
        await until(lambda: server.asked > 3)
        begun = time.monotonic()
        await writer.flush()
        assert time.monotonic() - begun < AT_ONCE_SECONDS, "what can't be written now is not waited for"
        assert server.stored == []
        server.takes = lambda: None
        await until(lambda: server.stored == ["a", "b", "c"])

    recording(scenario)


def test_an_event_that_is_refused_holds_up_no_other() -> None:
    async def scenario(server: Server, writer: Events) -> None:
        server.takes = lambda: status(403, "Forbidden", "no") if server.asked == 1 else None
        for message in "ab":
            writer.record(event(message))
        await until(lambda: server.stored == ["b"])

    recording(scenario)


def test_after_a_while_an_event_is_given_up_and_the_log_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(events, "PATIENCE_SECONDS", 0.05)

    async def scenario(server: Server, writer: Events) -> None:
        server.takes = away
        writer.record(event("a"))
        await until(lambda: "an event is not stored" in caplog.text)

    recording(scenario)


def test_the_end_does_not_wait_for_what_can_t_be_written_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: Server, writer: Events) -> None:
        server.takes = away
        for message in "abc":
            writer.record(event(message))
        await until(lambda: server.asked > 1)

    recording(scenario)
    assert "3 events are not stored" in caplog.text
