"""Secrets that somebody has deleted, and how often they are made again."""

from __future__ import annotations

import json
from collections import Counter

import httpx2

from matrix_operator.backends.kuberay.tokens import OLD_WORDS_SECONDS, Tokens
from tests.unit.kuberay.builders import cluster
from tests.unit.store.kubernetes.server import api, status
from tests.unit.store.support import run

LAB = cluster()
MISSING = 'MountVolume.SetUp failed for volume "matrix-secrets" : secret "lab-ray-token" not found'


def test_a_secret_is_made_once_however_long_its_pod_complains_and_once_more_when_it_goes_again() -> None:
    """A kubelet looks again after up to two minutes; looks come three times a second."""
    there: dict[str, dict[str, object]] = {}
    calls: Counter[str] = Counter()
    now = 0.0

    async def answer(request: httpx2.Request) -> httpx2.Response:
        calls[request.method] += 1
        if request.method == "GET":
            return httpx2.Response(200, json=there[request.url.path.rsplit("/", 1)[1]])
        body = json.loads(request.content)
        name = body["metadata"]["name"]
        if name in there:
            return status(409, "AlreadyExists", f'secrets "{name}" already exists')
        there[name] = body
        return httpx2.Response(201, json=body)

    async def scenario() -> None:
        nonlocal now
        tokens = Tokens(api(answer), lambda: now)
        await tokens.ensure(LAB)
        first = dict(there)
        for since in range(2):
            del there["lab-ray-token"]
            calls.clear()
            for look in range(90):
                now = since * OLD_WORDS_SECONDS + look / 3
                tokens.look_for(LAB, MISSING)
                await tokens.ensure(LAB)
            assert there == first, "with the token that the head has"
            assert calls == {"POST": 2, "GET": 1}

    run(scenario())
