"""kopf's end, with an API server in a few lines: its feed is never silent about it. The rest is tested on a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from aiohttp import web

from matrix_operator.engines import kopf_feed
from matrix_operator.engines.kopf_feed import KopfFeed
from matrix_operator.engines.kopf_login import KopfLogin
from matrix_operator.errors import ForeignFault
from matrix_store.kubernetes.connection import Connection
from matrix_store.kubernetes.paths import PLURALS
from matrix_store.kubernetes.store import KubernetesStore
from matrix_store.port import ChangeType
from tests.unit.store.kubernetes.server import api, listed

VERSION = {"groupVersion": "matrix.dev/v1alpha1", "version": "v1alpha1"}
RESOURCES = [
    {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": ["list", "watch", "get", "patch"]}
    for kind, plural in PLURALS.items()
]
CORE = [
    {"name": "namespaces", "singularName": "namespace", "kind": "Namespace", "namespaced": False, "verbs": ["list", "watch"]},
    {"name": "events", "singularName": "event", "kind": "Event", "namespaced": True, "verbs": ["create"]},
]
"""kopf begins when it has heard of these."""
ANSWERS = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": CORE},
    "/apis": {"groups": [{"name": "matrix.dev", "versions": [VERSION], "preferredVersion": VERSION}]},
    "/apis/matrix.dev/v1alpha1": {"resources": RESOURCES},
}


async def discovery(request: web.Request) -> web.Response:
    """It says what it has, and then has none of it: a CRD that goes away does that."""
    found = ANSWERS.get(request.path)
    return web.json_response(found) if found else web.json_response({"kind": "Status", "code": 404}, status=404)


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", discovery)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def answer(request: httpx2.Request) -> httpx2.Response:
    found = ANSWERS.get(request.url.path)
    return httpx2.Response(200, json=found) if found else listed(7)


def test_a_kopf_that_ends_again_and_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the kinds are there: another one would fare no better."""
    monkeypatch.setattr(kopf_feed, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(kopf_feed, "LIVES", 2)

    async def scenario() -> None:
        async with serving() as url, httpx2.AsyncClient() as http:
            feed = KopfFeed(KubernetesStore(api(answer)), KopfLogin(Connection(http, url, "default")), tuple(PLURALS))
            changes = feed.changes()
            assert (await anext(changes)).type is ChangeType.SYNCED
            with pytest.raises(ForeignFault, match="kopf has ended by itself 2 times in a row"):
                await anext(changes)

    asyncio.run(asyncio.wait_for(scenario(), 60))
