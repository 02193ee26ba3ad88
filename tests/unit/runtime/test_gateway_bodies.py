"""Whole bodies in memory: how slow they may come, how large they may be, and how much all of them together."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import Request

from matrix_runtime.gateway import limits
from matrix_runtime.gateway.bodies import Bodies, Refused

CHUNK = 1000


def request(chunks: int, pause: float) -> Request:
    """A body of so many chunks, each that many seconds after the one before."""
    left = chunks

    async def receive() -> dict[str, Any]:
        nonlocal left
        await asyncio.sleep(pause)
        left -= 1
        return {"type": "http.request", "body": b"x" * CHUNK, "more_body": left > 0}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


def read(bodies: Bodies, chunks: int, pause: float = 0.0) -> int:
    async def work() -> int:
        async with bodies.read(request(chunks, pause)) as body:
            assert bodies.held == len(body)
            return len(body)

    return asyncio.run(work())


def refusal(bodies: Bodies, chunks: int, pause: float = 0.0) -> int:
    with pytest.raises(Refused) as caught:
        read(bodies, chunks, pause)
    assert bodies.held == 0, "what was refused holds nothing"
    assert json.dumps(caught.value.refusal.message)
    return caught.value.refusal.status or caught.value.refusal.reason.http_status


def test_a_slow_body_has_longer_the_more_of_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(limits, "LEAST_BODY_RATE", CHUNK / 2.5)
    assert read(Bodies(), 6, 0.25) == 6 * CHUNK, "slower than BODY_SECONDS in all, faster than the least rate"
    monkeypatch.setattr(limits, "LEAST_BODY_RATE", 1e12)
    assert refusal(Bodies(), 100, 0.25) == 408


def test_too_large_alone_and_too_much_together() -> None:
    bodies = Bodies(most=5 * CHUNK, largest=3 * CHUNK)
    assert read(bodies, 3) == 3 * CHUNK
    assert refusal(bodies, 4) == 413
    bodies = Bodies(most=2 * CHUNK, largest=3 * CHUNK)
    assert refusal(bodies, 3) == 503
