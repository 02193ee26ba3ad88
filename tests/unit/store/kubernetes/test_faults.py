"""What an API server says no with, in the store's words; and which calls are tried again."""

from __future__ import annotations

import httpx2
import pytest

from matrix_store import errors
from matrix_store.errors import StoreError
from matrix_store.kubernetes.faults import AlreadyThere, KindUnknown, NamespaceGoing, TooOld, Unauthenticated, Untrusted
from matrix_store.kubernetes.paths import collection
from tests.unit.store.kubernetes.server import SERVER, api, status
from tests.unit.store.support import run


async def _refuse(response: httpx2.Response | Exception) -> StoreError:
    async def answer(request: httpx2.Request) -> httpx2.Response:
        if isinstance(response, Exception):
            raise response
        return response

    with pytest.raises(StoreError) as caught:
        await api(answer).get(collection("MatrixCluster"))
    return caught.value


TERMINATING = {"causes": [{"reason": "NamespaceTerminating", "message": "namespace t7 is being terminated", "field": "metadata.namespace"}]}
REFUSALS = [
    (status(404, "NotFound", 'matrixclusters "a" not found', name="a", kind="matrixclusters"), errors.NotFound, '"a" not found'),
    (status(404, "NotFound", 'namespaces "x" not found', name="x", kind="namespaces"), errors.NotFound, "kubectl create namespace x"),
    (status(404, "NotFound", "the server could not find the requested resource"), KindUnknown, "install them"),
    (httpx2.Response(404, text="404 page not found"), KindUnknown, "install them"),
    (status(409, "Conflict", "the object has been modified"), errors.Conflict, "look again"),
    (status(409, "AlreadyExists", 'matrixclusters "a" already exists', name="a"), AlreadyThere, "already exists"),
    (status(410, "Expired", "too old resource version"), TooOld, "too old"),
    (status(401, "Unauthorized", "Unauthorized"), Unauthenticated, "log in again"),
    (status(403, "Forbidden", 'User "u" cannot list resource', kind="matrixclusters"), errors.Forbidden, "ask the cluster's administrator"),
    (status(403, "Forbidden", "unable to create new content", **TERMINATING), NamespaceGoing, "being deleted"),
    (status(422, "Invalid", "spec.ray: Invalid value\nnot that"), errors.Rejected, "spec.ray: Invalid value not that"),
    (status(500, "", "failed to create typed patch object: .spec.x: field not declared in schema"), errors.Rejected, ".spec.x"),
    (status(500, "InternalError", "etcdserver: request timed out"), errors.Unavailable, "answered 500"),
    (httpx2.Response(503, text="upstream connect error"), errors.Unavailable, "answered 503 .upstream connect error"),
    (httpx2.Response(200, text="<html>log in</html>", headers={"Content-Type": "text/html"}), errors.Unavailable, "is it an API server"),
    (httpx2.Response(200, json=["a", "list"]), errors.Unavailable, "is it an API server"),
    (httpx2.ConnectError("[Errno 111] Connection refused"), errors.Unavailable, "can't be reached: .*refused"),
    (httpx2.ReadTimeout("30 s"), errors.Unavailable, "did not answer in time"),
    (httpx2.ConnectError("CERTIFICATE_VERIFY_FAILED: unknown authority"), Untrusted, "can't be trusted"),
]


@pytest.mark.parametrize(("response", "kind", "text"), REFUSALS)
def test_an_answer_has_its_error(response: httpx2.Response | Exception, kind: type[StoreError], text: str) -> None:
    error = run(_refuse(response))
    assert type(error) is kind
    assert "\n" not in str(error)
    with pytest.raises(kind, match=text):
        raise error


def test_of_a_kind_that_is_not_ours_only_the_path_is_told() -> None:
    async def look() -> None:
        async def answer(request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(404, text="404 page not found")

        await api(answer).get("/apis/ray.io/v1/rayclusters")

    with pytest.raises(KindUnknown, match=r"has no /apis/ray.io/v1/rayclusters"):
        run(look())


def test_a_call_that_the_server_turned_away_is_tried_again() -> None:
    answers = [
        httpx2.Response(429, headers={"Retry-After": "0"}),
        httpx2.Response(429, headers={"Retry-After": "0"}),
        httpx2.Response(200, json={}),
    ]

    async def answer(request: httpx2.Request) -> httpx2.Response:
        assert str(request.url) == f"{SERVER}/x"
        return answers.pop(0)

    assert run(api(answer).get("/x")) == {}
    assert answers == []


def test_a_server_that_turns_every_call_away_is_not_asked_for_ever() -> None:
    asked = 0

    async def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        return httpx2.Response(429, headers={"Retry-After": "0"})

    with pytest.raises(errors.Unavailable, match="429"):
        run(api(answer).create("/x", {}))
    assert asked == 4
