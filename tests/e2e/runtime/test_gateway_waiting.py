"""Requests of a model that has no replica up wait for one, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.e2e.runtime.gateway_world import KEY, World
from tests.e2e.runtime.ray_cluster import eventually


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    try:
        world.start()
        world.declare("m", {"name": "zero", "replicas": 0})
        world.ready()
        yield world
    finally:
        world.stop()


def ask(world: World, wait: str | None = None, model: str = "m", **body: Any) -> httpx2.Response:
    headers = KEY | ({"x-matrix-wait-seconds": wait} if wait else {})
    request = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3} | body
    return httpx2.post(f"{world.url}/v1/chat/completions", json=request, headers=headers, timeout=120)


def waiting(world: World) -> float:
    page = httpx2.get(f"{world.url}/metrics", headers=KEY).text
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("matrix_gateway_waiting{"))


def test_requests_wait_for_the_first_replica_and_are_then_answered(world: World) -> None:
    with ThreadPoolExecutor(20) as pool:
        results = [pool.submit(ask, world, stream=number % 2 == 0) for number in range(20)]
        eventually(lambda: waiting(world) == 20, 60, "all wait")
        world.add("a", tokensPerSecond=100)
        answers = [result.result() for result in results]
    assert [answer.status_code for answer in answers] == [200] * 20
    assert all("[DONE]" in answer.text for answer in answers[::2])
    assert waiting(world) == 0
    page = httpx2.get(f"{world.url}/metrics", headers=KEY).text
    waited = next(line for line in page.splitlines() if line.startswith('matrix_gateway_waited_seconds_total{model="m"}'))
    assert float(waited.split()[-1]) > 1


def test_who_waits_in_vain_is_told_for_what_and_at_which_place(world: World) -> None:
    started = time.monotonic()
    answer = ask(world, "0.5")
    assert 0.4 < time.monotonic() - started < 30
    assert (answer.status_code, answer.headers["matrix-reason"], answer.headers["matrix-retryable"]) == (503, "NotReady", "1")
    assert int(answer.headers["retry-after"]) > 0
    message = answer.json()["error"]["message"]
    assert "no replica of 'm' is ready" in message and "number 1 of 1" in message


def test_nonsense_for_the_time_to_wait_is_refused(world: World) -> None:
    for wait in ("soon", "-1", "nan"):
        assert ask(world, wait).status_code == 400


def test_a_model_without_replicas_answers_at_once(world: World) -> None:
    started = time.monotonic()
    answer = ask(world, model="zero")
    assert (answer.status_code, answer.headers["matrix-reason"]) == (503, "NotReady")
    assert "scaled to zero" in answer.json()["error"]["message"]
    assert time.monotonic() - started < 20


def test_a_model_that_is_withdrawn_lets_nobody_wait_on(world: World) -> None:
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(ask, world)
        eventually(lambda: waiting(world) == 1, 30, "it waits")
        world.declare("other")
        assert result.result().status_code == 404


def test_who_leaves_waits_no_longer(world: World) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{world.url}/v1/completions", json={"model": "m", "prompt": "x"}, headers=KEY, timeout=2)
    eventually(lambda: waiting(world) == 0, 20, "its place is free")


def test_while_replicas_are_dead_that_the_directory_believes_in_requests_wait(world: World) -> None:
    replica = world.add("a", tokensPerSecond=100)
    world.serves("m")
    replica.process.kill()
    replica.process.wait()
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(ask, world)
        world.add("b", tokensPerSecond=100)
        assert result.result().status_code == 200
