"""What is followed of the API server: KubeRay may be installed after us."""

from __future__ import annotations

import asyncio
import contextlib

import httpx2
import pytest

from matrix_operator.backends.kuberay import watched
from matrix_operator.backends.kuberay.watched import Watched
from tests.unit.store.kubernetes.server import api, listed
from tests.unit.store.support import run

SECONDS = 10.0


def test_a_kuberay_that_is_installed_later_is_not_missing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "WITHOUT_KUBERAY_SECONDS", 0.01)
    installed = asyncio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.params.get("watch"):
            await asyncio.Event().wait()
        if request.url.path.endswith("/rayclusters") and not installed.is_set():
            return httpx2.Response(404, text="404 page not found")
        return listed(5)

    async def body() -> None:
        found = Watched(api(answer), None)
        running = asyncio.create_task(found.run())
        try:
            assert await found.told(SECONDS)
            assert found.kuberay_missing
            installed.set()
            async with asyncio.timeout(SECONDS):
                await found._ray_follower.synced.wait()
            assert found.complete and not found.kuberay_missing
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    run(body())
