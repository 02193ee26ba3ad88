"""kopf's end, without an API server: its feed is never silent about it. The rest is tested on a real one."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import kopf
import pytest

from matrix_operator.engines.kopf_feed import KopfFeed
from matrix_operator.engines.kopf_login import KopfLogin
from matrix_operator.errors import ForeignFault
from matrix_store.kubernetes.connection import Connection
from matrix_store.kubernetes.store import KubernetesStore
from matrix_store.port import ChangeType
from tests.unit.store.kubernetes.server import SERVER, api, listed

KINDS = ("MatrixCluster", "ModelDeployment")


class NoLogin(KopfLogin):
    """Credentials that can't be had, for good."""

    async def login(self, **_: Any) -> kopf.AiohttpSession:
        raise kopf.PermanentError("there are none")


async def answer(request: httpx2.Request) -> httpx2.Response:
    if request.url.path == "/apis/matrix.dev/v1alpha1":
        return httpx2.Response(200, json={"resources": [{"kind": kind} for kind in KINDS]})
    return listed(7)


def test_a_kopf_that_ends_ends_the_feed() -> None:
    async def scenario() -> None:
        async with httpx2.AsyncClient() as http:
            feed = KopfFeed(KubernetesStore(api(answer)), NoLogin(Connection(http, SERVER, "default")), KINDS)
            changes = feed.changes()
            assert (await anext(changes)).type is ChangeType.SYNCED
            with pytest.raises(ForeignFault, match="kopf has ended by itself"):
                await anext(changes)

    asyncio.run(asyncio.wait_for(scenario(), 60))
