"""What is followed of the API server: KubeRay may be installed after us."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import httpx2
import pytest

from matrix_crds.on_kubernetes import UID_LABEL
from matrix_operator.backends.kuberay import watched
from matrix_operator.backends.kuberay.watched import Watched
from matrix_operator.tasks import first_to_end
from matrix_store.errors import StoreError
from matrix_store.kubernetes import follow
from tests.unit.kuberay.builders import cluster, live, pod
from tests.unit.store.kubernetes.server import api, listed, status
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


FAULTS = [status(503, "ServiceUnavailable", "it is just starting"), status(403, "Forbidden", "not yet"), httpx2.ConnectError("refused")]


def answered(step: httpx2.Response | Exception) -> httpx2.Response:
    if isinstance(step, Exception):
        raise step
    return step


@pytest.mark.parametrize("fault", FAULTS, ids=["503", "403", "refused"])
def test_where_there_is_no_kuberay_a_look_for_it_may_fail(fault: httpx2.Response | Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "WITHOUT_KUBERAY_SECONDS", 0.01)
    unknown = httpx2.Response(404, text="404 page not found")
    to_rays = iter([unknown, fault, fault, unknown, fault, listed(5)])

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.params.get("watch"):
            await asyncio.Event().wait()
        return answered(next(to_rays)) if request.url.path.endswith("/rayclusters") else listed(5)

    async def body() -> None:
        found = Watched(api(answer), None)

        async def met() -> None:
            assert await found.told(SECONDS) and found.kuberay_missing
            await found._ray_follower.synced.wait()
            assert found.complete and not found.kuberay_missing

        async with asyncio.timeout(SECONDS):
            await first_to_end(found.run(), met())

    run(body())
    assert next(to_rays, None) is None, "each was met"


@pytest.mark.parametrize("fault", FAULTS, ids=["503", "403", "refused"])
def test_a_list_that_fails_at_first_is_raised(fault: httpx2.Response | Exception) -> None:
    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.params.get("watch"):
            await asyncio.Event().wait()
        return answered(fault) if request.url.path.endswith("/rayclusters") else listed(5)

    async def body() -> None:
        async with asyncio.timeout(SECONDS):
            with pytest.raises(StoreError):
                await Watched(api(answer), None).run()

    run(body())


def test_a_cluster_s_versions_change_with_each_of_its_objects_and_with_no_other() -> None:
    async def never(_: httpx2.Request) -> httpx2.Response:
        raise AssertionError("nothing is asked")

    async def body() -> None:
        found, of = Watched(api(never), None), cluster()
        seen = {found.versions(of)}
        complaint = {
            "metadata": {"uid": "e", "resourceVersion": "5"},
            "involvedObject": {"uid": "ray-1"},
            "reason": "InvalidRayClusterSpec",
        }
        service = {"metadata": {"uid": "s", "resourceVersion": "6", "labels": {UID_LABEL: of.metadata.uid}}, "spec": {}}
        for index, item in ((found._ray_clusters, live(of)), (found._pods, pod()), (found._events, complaint), (found._services, service)):
            index.present(item)
            seen.add(found.versions(of))
        assert len(seen) == 5
        found._pods.present(pod("another's") | {"metadata": pod()["metadata"] | {"uid": "p9", "labels": {UID_LABEL: "another"}}})
        assert found.versions(of) in seen

    run(body())


def test_a_kuberay_that_goes_and_comes_back_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its CRDs are deleted while we follow them: missing, but no sign of a stuck watch, and found again."""
    monkeypatch.setattr(follow, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(follow, "LONGEST_PAUSE_SECONDS", 0.01)
    gone, back = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        ray = request.url.path.endswith("/rayclusters")
        if ray and gone.is_set() and not back.is_set():
            return httpx2.Response(404, text="404 page not found")
        if request.url.params.get("watch"):
            await (gone if ray and not gone.is_set() else asyncio.Event()).wait()
            return httpx2.Response(200, text="")
        return listed(5)

    async def body() -> None:
        found = Watched(api(answer), None)
        running = asyncio.create_task(found.run())
        try:
            assert await found.told(SECONDS)
            assert not found.kuberay_missing
            gone.set()
            await _until(lambda: found.kuberay_missing)
            found._ray_follower._heard -= 1000
            assert found.complete and found.age < 100
            back.set()
            await _until(lambda: not found.kuberay_missing)
            assert found.complete and not running.done()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def _until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    run(body())
