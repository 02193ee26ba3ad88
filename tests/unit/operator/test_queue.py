"""The work queue, with a clock in hand."""

from __future__ import annotations

import asyncio
import random

from matrix_crds.keys import ObjectKey
from matrix_operator.reconcile.queue import (
    FIRST_AFTER_CONFLICT_SECONDS,
    FIRST_BACKOFF_SECONDS,
    LAST_AFTER_CONFLICT_SECONDS,
    LAST_BACKOFF_SECONDS,
    WorkQueue,
)

A = ObjectKey("MatrixCluster", "default", "a")
B = ObjectKey("MatrixCluster", "default", "b")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


def make() -> tuple[WorkQueue, Clock]:
    clock = Clock()
    return WorkQueue(clock, random.Random(1)), clock


def test_a_key_is_handed_out_once_however_often_it_is_added() -> None:
    async def scenario() -> None:
        queue, _ = make()
        queue.add(A)
        queue.add(A)
        assert await queue.get() == A
        assert len(queue) == 0

    asyncio.run(scenario())


def test_a_key_that_is_added_while_it_is_worked_on_comes_again_after_done_and_not_before() -> None:
    async def scenario() -> None:
        queue, _ = make()
        queue.add(A)
        assert await queue.get() == A
        queue.add(A)
        queue.add(B)
        assert await queue.get() == B
        queue.done(A)
        assert await asyncio.wait_for(queue.get(), 1) == A

    asyncio.run(scenario())


def test_the_sooner_of_two_due_times_wins() -> None:
    async def scenario() -> None:
        queue, clock = make()
        queue.add(A, 60)
        queue.add(A, 5)
        queue.add(A, 30)
        clock.now += 5
        assert await asyncio.wait_for(queue.get(), 1) == A
        queue.done(A)
        assert queue.idle

    asyncio.run(scenario())


def test_a_waiting_getter_wakes_up_for_a_key_that_is_due_before_the_one_it_waits_for() -> None:
    async def scenario() -> None:
        queue, _ = make()
        queue.add(A, 60)
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add(B)
        assert await asyncio.wait_for(getter, 1) == B

    asyncio.run(scenario())


def test_backoff_doubles_up_to_its_limit_and_starts_again_after_success() -> None:
    queue, _ = make()
    delays = [queue.add_after_failure(A) for _ in range(12)]
    assert 0.8 * FIRST_BACKOFF_SECONDS <= delays[0] <= 1.2 * FIRST_BACKOFF_SECONDS
    assert 3.0 < delays[3] / delays[0] < 20.0
    assert max(delays) <= 1.2 * LAST_BACKOFF_SECONDS
    queue.succeeded(A)
    assert queue.add_after_failure(A) <= 1.2 * FIRST_BACKOFF_SECONDS


def test_a_forgotten_key_does_not_come_back() -> None:
    queue, clock = make()
    queue.add(A, 1)
    queue.forget(A)
    clock.now += 10
    assert len(queue) == 0
    assert queue.idle


def test_a_worker_that_is_cancelled_just_as_something_happens_ends() -> None:
    async def scenario() -> None:
        queue, _ = make()
        queue.add(B, 60.0)
        worker = asyncio.create_task(queue.get())
        for _ in range(3):
            await asyncio.sleep(0)
        queue.done(A)
        await asyncio.sleep(0)
        worker.cancel()
        done, _ = await asyncio.wait([worker], timeout=5)
        assert done and worker.cancelled()

    asyncio.run(scenario())


def test_of_many_workers_that_wait_a_change_wakes_one_and_each_key_finds_one() -> None:
    async def scenario() -> None:
        queue, clock = make()
        workers = [asyncio.create_task(queue.get()) for _ in range(64)]
        await _settled()
        asked = clock.asked
        queue.add(A)
        await _settled()
        assert [worker.result() for worker in workers if worker.done()] == [A]
        assert clock.asked - asked < 10, "each worker that is woken asks for the time"
        next(worker for worker in workers if not worker.done()).cancel()  # the one whose turn it is
        queue.add(B)
        await _settled()
        ended = [worker for worker in workers if worker.done()]
        assert sorted(worker.result() for worker in ended if not worker.cancelled()) == [A, B]
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _settled() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(scenario())


def test_it_tells_how_long_work_lasts_and_how_long_nothing_was_taken_up() -> None:
    async def scenario() -> None:
        queue, clock = make()
        clock.now += 1000
        assert (queue.longest, queue.stalled) == (0.0, 0.0)
        queue.add(A)
        queue.add(B)
        clock.now += 5
        assert queue.stalled == 5.0
        await queue.get()
        clock.now += 7
        assert (queue.longest, queue.stalled) == (7.0, 7.0)
        await queue.get()
        queue.add(A)
        assert queue.stalled == 0.0, "one that is worked on does not wait for a worker"
        clock.now += 3
        assert queue.longest == 10.0
        queue.done(A)
        assert queue.longest == 3.0
        assert queue.stalled == 3.0

    asyncio.run(scenario())


def test_after_a_conflict_it_is_at_once_and_then_less_and_less_soon() -> None:
    queue, _ = make()
    delays = [queue.add_after_conflict(A) for _ in range(12)]
    assert delays[0] <= 1.2 * FIRST_AFTER_CONFLICT_SECONDS
    assert all(late <= 1.2 * LAST_AFTER_CONFLICT_SECONDS for late in delays)
    assert delays[-1] >= 0.8 * LAST_AFTER_CONFLICT_SECONDS
    assert queue.add_after_failure(A) <= 1.2 * FIRST_BACKOFF_SECONDS, "they are counted apart"
    assert queue.add_after_conflict(B) <= 1.2 * FIRST_AFTER_CONFLICT_SECONDS
    queue.succeeded(A)
    assert queue.add_after_conflict(A) <= 1.2 * FIRST_AFTER_CONFLICT_SECONDS
