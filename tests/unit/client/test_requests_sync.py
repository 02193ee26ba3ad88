"""Requests to models with the synchronous client: in a for loop, from many threads, and left with Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from matrix_client import Matrix
from matrix_client.errors import BrokeOff, Refused, RequestTimeout
from matrix_client.sync_client import _Reading
from matrix_proto.errors import ErrorReason
from tests.unit.client.replica import Replica, serving
from tests.unit.client.worlds import World

DEADLINE_SECONDS = 30.0


@pytest.fixture
def replica(world: World) -> Iterator[Replica]:
    with serving(world, Replica()) as replica:
        yield replica


@pytest.fixture
def matrix(world: World, replica: Replica) -> Iterator[Matrix]:
    with Matrix(home=world.home.root) as matrix:
        yield matrix


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_whole_answers(matrix: Matrix, replica: Replica) -> None:
    assert str(matrix.chat("chat", "hello", temperature=0)) == "one two three"
    assert str(matrix.complete("chat", "hello")) == "one two three"
    assert matrix.embed("chat", "four").vectors == [[4.0, 0.5]]
    assert replica.requests[0]["temperature"] == 0


def test_a_forgotten_stream_may_be_collected_in_the_thread_of_the_loop(matrix: Matrix, replica: Replica) -> None:
    replica.held = asyncio.Event()
    stream = matrix.chat("chat", "hello", stream=True)
    assert next(stream).text == "one"
    matrix._loop._loop.call_soon_threadsafe(stream.close)
    until(lambda: replica.cancelled == 1)
    replica.held = None
    assert str(matrix.chat("chat", "hello")) == "one two three"


def test_a_stream_is_read_in_a_for_loop_and_can_be_left(matrix: Matrix, replica: Replica) -> None:
    assert "".join(str(delta) for delta in matrix.chat("chat", "hello", stream=True)) == "one two three"
    assert "".join(str(delta) for delta in matrix.complete("chat", "hello", stream=True)) == "one two three"
    replica.held = asyncio.Event()
    for delta in matrix.chat("chat", "hello", stream=True):
        assert delta.text == "one"
        break
    until(lambda: replica.cancelled == 1)
    replica.held = None
    assert str(matrix.chat("chat", "hello")) == "one two three"


def test_errors_are_those_of_the_asynchronous_client(matrix: Matrix, replica: Replica) -> None:
    replica.refusals.append((ErrorReason.BAD_REQUEST, "no"))
    with pytest.raises(Refused):
        matrix.chat("chat", "hello")
    replica.breaks_after = 1
    with pytest.raises(BrokeOff):
        list(matrix.chat("chat", "hello", stream=True))
    replica.breaks_after, replica.delay = None, 5
    with pytest.raises(RequestTimeout):
        matrix.chat("chat", "hello", timeout=0.2)


def test_many_threads_share_it(matrix: Matrix, replica: Replica) -> None:
    replica.delay = 0.02

    def ask(number: int) -> str:
        if number % 2:
            return "".join(str(delta) for delta in matrix.chat("chat", f"{number}", stream=True))
        return str(matrix.chat("chat", f"{number}"))

    with ThreadPoolExecutor(32) as threads:
        assert set(threads.map(ask, range(200))) == {"one two three"}
    assert replica.most_open > 8


@pytest.mark.parametrize("stream", [False, True])
def test_ctrl_c_cancels_the_request_at_the_replica(matrix: Matrix, replica: Replica, stream: bool) -> None:
    replica.held = asyncio.Event()

    def press() -> None:
        until(lambda: replica.open == 1)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        if stream:
            list(matrix.chat("chat", "hello", stream=True))
        else:
            matrix.chat("chat", "hello")
    thread.join()
    until(lambda: replica.cancelled == 1)


def test_two_clients_in_one_process(world: World, matrix: Matrix) -> None:
    with Matrix(home=world.home.root) as other, ThreadPoolExecutor(8) as threads:
        clients = [matrix, other] * 50
        assert {str(answer) for answer in threads.map(lambda client: client.chat("chat", "hello"), clients)} == {"one two three"}


def test_a_reading_is_closed_while_a_piece_is_still_awaited() -> None:
    ended: list[bool] = []

    async def pieces() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def run() -> bool:
        reading = _Reading(pieces())
        assert await reading.next() == 1
        awaited = asyncio.create_task(reading.next())
        await asyncio.sleep(0)
        await asyncio.wait_for(reading.close(), DEADLINE_SECONDS)
        return awaited.cancelled()

    assert asyncio.run(run())
    assert ended == [True]
