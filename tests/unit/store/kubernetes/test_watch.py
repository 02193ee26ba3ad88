"""Following an API server through what it can do to a watch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import httpx2
import pytest

from matrix_store.errors import Forbidden, Unavailable
from matrix_store.kubernetes import paths
from matrix_store.kubernetes.watch import Watch
from matrix_store.port import Change, ChangeType
from tests.unit.store.kubernetes.server import Answer, api, cluster, event, is_watch, listed, status, watched
from tests.unit.store.support import KIND, key, run

Script = Iterator[httpx2.Response | Exception]


def scripted(lists: Script, watches: Script) -> Answer:
    """Answers lists and watches from two scripts; when that of the watches has ended, a watch stays silent."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        step = next(watches if is_watch(request) else lists, None)
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        assert step is not None
        return step

    return answer


def follow(answer: Answer, *, seconds: float = 60.0, grace: float = 15.0) -> Watch:
    return Watch(api(answer), {KIND: paths.collection(KIND)}, seconds, grace)


class Restored:
    """A server whose store is restored while it is away. A watch from a later version than its store has is taken, and is silent until
    the store has got that far."""

    def __init__(self) -> None:
        self.version = 9000
        self.objects = {"a": 8000, "b": 8900}
        self.lists: list[str] = []
        """The limit that each asked for."""
        self.watched = asyncio.Event()
        self._away = asyncio.Event()

    def restore(self) -> None:
        self.version, self.objects = 5000, {"a": 4000}
        self._away.set()

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if not is_watch(request):
            self.lists.append(request.url.params["limit"])
            return listed(self.version, *(cluster(name, version) for name, version in self.objects.items()))
        if self._away.is_set():
            return watched(then=asyncio.Event().wait)
        self.watched.set()
        return watched(then=self._break)

    async def _break(self) -> None:
        await self._away.wait()
        raise httpx2.ReadError("connection reset")


async def told(watch: Watch, number: int) -> list[Change]:
    """The first changes of a watch."""
    changes: list[Change] = []
    async with aclosing(watch.changes()) as stream:  # type: ignore[type-var]
        async for change in stream:
            changes.append(change)
            if len(changes) == number:
                break
    return changes


def said(changes: list[Change]) -> list[tuple[ChangeType, str]]:
    return [(change.type, change.key.name if change.key else "") for change in changes]


SYNCED = (ChangeType.SYNCED, "")


def test_what_went_during_a_gap_is_told_from_the_list() -> None:
    gone = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})
    lists = iter([listed(5, cluster("a", 1), cluster("b", 2)), listed(9, cluster("b", 2))])
    changes = run(told(follow(scripted(lists, iter([watched(gone)]))), 4))
    assert said(changes) == [(ChangeType.CHANGED, "a"), (ChangeType.CHANGED, "b"), SYNCED, (ChangeType.DELETED, "a")]


@pytest.mark.parametrize(
    "failure",
    [
        status(410, "Expired", "too old resource version"),
        watched(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})),
    ],
)
def test_a_version_that_the_server_has_forgotten_is_answered_with_a_new_list(failure: httpx2.Response) -> None:
    lists = iter([listed(5), listed(9, cluster("new", 7))])
    changes = run(told(follow(scripted(lists, iter([failure]))), 2))
    assert said(changes) == [SYNCED, (ChangeType.CHANGED, "new")]


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.ConnectError("refused"),
        httpx2.ReadError("connection reset"),
        status(500, "InternalError", "etcd is away"),
        status(429, "TooManyRequests", "slow down"),
        watched(event("ERROR", {"kind": "Status", "code": 500, "reason": "InternalError"})),
        httpx2.Response(200, content=b"<html>a proxy's page</html>\n"),
    ],
    ids=["refused", "reset", "500", "429", "an error event", "no JSON"],
)
def test_a_watch_goes_on_after_a_fault_from_where_it_was(failure: httpx2.Response | Exception) -> None:
    watches = iter([watched(event("ADDED", cluster("a", 6))), failure, watched(event("MODIFIED", cluster("a", 8)))])
    versions: list[str] = []
    answer = scripted(iter([listed(5), listed(6, cluster("a", 6))]), watches)

    async def noted(request: httpx2.Request) -> httpx2.Response:
        if is_watch(request):
            versions.append(request.url.params["resourceVersion"])
        return await answer(request)

    changes = run(told(follow(noted), 3))
    assert said(changes) == [SYNCED, (ChangeType.CHANGED, "a"), (ChangeType.CHANGED, "a")]
    assert versions[:3] == ["5", "6", "6"]


def test_a_store_that_was_restored_while_the_server_was_away_is_listed_anew() -> None:
    async def both() -> tuple[list[Change], list[str]]:
        server = Restored()
        reading = asyncio.create_task(told(follow(server.answer), 5))
        await server.watched.wait()
        server.restore()
        return await reading, server.lists

    changes, lists = run(both())
    assert said(changes)[3:] == [(ChangeType.DELETED, "b"), (ChangeType.CHANGED, "a")]
    assert lists == ["500", "1", "500"]


def test_after_the_regular_end_of_a_watch_nothing_is_listed() -> None:
    watches = iter([watched(), watched(), watched(event("ADDED", cluster("a", 6)))])
    changes = run(told(follow(scripted(iter([listed(5)]), watches)), 2))  # another list would not be answered
    assert said(changes) == [SYNCED, (ChangeType.CHANGED, "a")]


def test_a_silent_watch_is_begun_again() -> None:
    async def silence() -> None:
        await asyncio.Event().wait()

    watches = iter([watched(then=silence), watched(event("ADDED", cluster("a", 6)))])
    changes = run(told(follow(scripted(iter([listed(5), listed(5)]), watches), seconds=0.2, grace=0.1), 2))
    assert said(changes) == [SYNCED, (ChangeType.CHANGED, "a")]


def test_bookmarks_move_the_place_and_tell_nothing() -> None:
    bookmark = event("BOOKMARK", {"kind": "MatrixCluster", "metadata": {"resourceVersion": "40"}})
    versions: list[str] = []
    answer = scripted(iter([listed(5)]), iter([watched(bookmark), watched(event("ADDED", cluster("a", 41)))]))

    async def noted(request: httpx2.Request) -> httpx2.Response:
        if is_watch(request):
            versions.append(request.url.params["resourceVersion"])
        return await answer(request)

    assert said(run(told(follow(noted), 2))) == [SYNCED, (ChangeType.CHANGED, "a")]
    assert versions[:2] == ["5", "40"]


def test_what_is_told_twice_by_the_server_is_told_once() -> None:
    watches = iter([watched(event("ADDED", cluster("a", 3)), event("ADDED", cluster("b", 6)))])
    changes = run(told(follow(scripted(iter([listed(5, cluster("a", 3))]), watches)), 3))
    assert said(changes) == [(ChangeType.CHANGED, "a"), SYNCED, (ChangeType.CHANGED, "b")]


def test_an_object_made_anew_during_a_gap_is_deleted_then_changed() -> None:
    lists = iter([listed(5, cluster("a", 1, "first")), listed(9, cluster("a", 8, "second"))])
    changes = run(told(follow(scripted(lists, iter([status(410, "Expired")]))), 4))
    assert said(changes)[2:] == [(ChangeType.DELETED, "a"), (ChangeType.CHANGED, "a")]
    assert [change.object.uid for change in changes[2:] if change.object] == ["first", "second"]


def test_a_long_list_comes_in_pages() -> None:
    tokens: list[str | None] = []

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if is_watch(request):
            await asyncio.Event().wait()
        tokens.append(request.url.params.get("continue"))
        return listed(5, cluster("a", 1), more="next") if len(tokens) == 1 else listed(5, cluster("b", 2))

    assert said(run(told(follow(answer), 3))) == [(ChangeType.CHANGED, "a"), (ChangeType.CHANGED, "b"), SYNCED]
    assert tokens == [None, "next"]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx2.ConnectError("refused"), Unavailable),
        (status(403, "Forbidden", "user may not list"), Forbidden),
        (status(404, "NotFound", "the server could not find the requested resource"), Unavailable),
    ],
)
def test_a_watch_that_can_t_begin_says_so(failure: httpx2.Response | Exception, error: type[Exception]) -> None:
    with pytest.raises(error):
        run(told(follow(scripted(iter([failure]), iter([]))), 1))


def test_the_name_of_the_collection_is_that_of_the_kind() -> None:
    assert paths.collection(KIND, "lab") == "/apis/matrix.dev/v1alpha1/namespaces/lab/matrixclusters"
    assert paths.of(key("one"), "status") == "/apis/matrix.dev/v1alpha1/namespaces/default/matrixclusters/one/status"
