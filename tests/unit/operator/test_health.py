"""What is alive and what is stuck, with a clock that is turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2
import pytest

from matrix_operator.engines.health import Contact, Health, Limits, hears, holds, moves
from matrix_operator.engines.health_server import Address, HealthServer


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_loop_that_does_not_look_is_stuck(clock: Clock) -> None:
    health = Health(Limits(loop=30), clock=clock)
    health.look()
    clock.now += 30
    assert health.dead() == ()
    clock.now += 1
    assert health.dead() == ("the event loop has been stuck for 31 s",)
    assert health.unready() == health.dead()


def test_a_new_process_is_alive_and_not_ready(clock: Clock) -> None:
    health = Health(clock=clock, ready=[holds("not all objects have been read", lambda: False)])
    assert (health.dead(), health.unready()) == ((), ("it has only just started",))
    health.look()
    assert (health.dead(), health.unready()) == ((), ("not all objects have been read",))


def test_a_dead_one_is_not_ready_either(clock: Clock) -> None:
    health = Health(clock=clock, live=[lambda: "a worker is stuck"])
    health.look()
    assert health.unready() == health.dead() == ("a worker is stuck",)


def test_it_looks_each_second() -> None:
    async def scenario() -> None:
        looks = 0
        twice = asyncio.Event()

        def count() -> str:
            nonlocal looks
            looks += 1
            if looks == 2:
                twice.set()
            return ""

        task = asyncio.create_task(Health(live=[count]).run())
        async with asyncio.timeout(10):
            await twice.wait()
        task.cancel()

    asyncio.run(scenario())


def test_what_has_not_moved_for_too_long_is_told_with_its_time() -> None:
    still = 600.0
    check = moves("one reconcile has lasted", lambda: still, 600)
    assert check() == ""
    still = 601.0
    assert check() == "one reconcile has lasted for 601 s"


@pytest.mark.parametrize("lost", ["none", "500", "503", "429"])
def test_a_silent_watch_is_no_reason_while_the_server_is_away(clock: Clock, lost: str) -> None:
    contact = Contact(clock)
    heard = clock.now
    check = hears("a watch", lambda: clock.now - heard, contact, 240)
    contact.heard("GET", "200")
    for _ in range(10_000):  # hours
        clock.now += 2
        contact.heard("PATCH", lost)
        assert check() == ""
    contact.heard("PATCH", "200")
    clock.now += 240
    assert check() == "", "it has as long to come back as it may be silent"
    clock.now += 1
    assert check() == "a watch has heard nothing for 241 s, although the API server answers"
    heard = clock.now
    assert check() == ""


def test_a_refusal_is_an_answer(clock: Clock) -> None:
    contact = Contact(clock)
    contact.heard("GET", "403")
    clock.now += 5
    contact.heard("GET", "200")
    assert contact.seconds == 5.0


def ask(health: Health, path: str) -> httpx2.Response:
    server = HealthServer(Address("127.0.0.1", 0), health)
    try:
        return httpx2.get(f"http://127.0.0.1:{server.port}{path}", trust_env=False)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("path", "live", "code", "text"),
    [
        ("/livez", lambda: "", 200, "ok\n"),
        ("/livez?verbose", lambda: "", 200, "ok\n"),
        ("/livez", lambda: "a is stuck", 503, "a is stuck\n"),
        ("/readyz", lambda: "", 503, "not read yet\n"),
        ("/readyz", lambda: "a is stuck", 503, "a is stuck\nnot read yet\n"),
        ("/", lambda: "", 404, "there is only /livez and /readyz\n"),
    ],
)
def test_probes(path: str, live: Callable[[], str], code: int, text: str) -> None:
    health = Health(live=[live], ready=[holds("not read yet", lambda: False)])
    health.look()
    answer = ask(health, path)
    assert (answer.status_code, answer.text) == (code, text)


def test_an_address_is_written_as_others_write_it() -> None:
    assert [str(Address("127.0.0.1", 1)), str(Address("::", 2))] == ["127.0.0.1:1", "[::]:2"]
