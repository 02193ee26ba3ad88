from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx2
import pytest
from httpx2 import ASGITransport

from matrix_proto.state import GATEWAY_PATH, HEALTH_PATH, REPLICAS_PATH, STATE_PATH, SUSPECT_AFTER_SECONDS, TARGETS_PATH, Replica, State
from matrix_runtime.http_server import listen
from matrix_runtime.system.directory import LATE_SECONDS, Directory
from matrix_runtime.system.probe import closed
from matrix_runtime.system.service import DirectoryService

RAY, CLIENT = {"Authorization": "Bearer ray"}, {"Authorization": "Bearer client"}
REPORT = {"id": "a", "application": "mx-md-m", "model": "m", "state": "Ready", "since": "2026-01-01T00:00:00Z", "pid": 7}


@pytest.fixture
def http(tmp_path: Path) -> httpx2.AsyncClient:
    (tmp_path / "ray-token").write_text("ray\n")
    (tmp_path / "client-token").write_text("client")
    about = State(runtime_version="0.1.0", ray_version="2.60.0", instance="i", revision=0)
    app = DirectoryService(Directory(), about).app(tmp_path)
    return httpx2.AsyncClient(transport=ASGITransport(app=app), base_url="http://directory")


async def state(http: httpx2.AsyncClient, **query: object) -> State:
    answer = await http.get(STATE_PATH, params=query, headers=CLIENT)
    assert answer.status_code == 200, answer.text
    return State.model_validate(answer.json())


def test_what_is_reported_is_in_the_state(http: httpx2.AsyncClient) -> None:
    async def run() -> None:
        assert (await http.post(REPLICAS_PATH, json=REPORT, headers=RAY)).status_code == 200
        got = await state(http)
        assert [replica.id for replica in got.replicas] == ["a"]
        assert (got.instance, got.ray_version) == ("i", "2.60.0")

    asyncio.run(run())


def test_the_state_takes_either_token_a_report_only_rays_and_health_none(http: httpx2.AsyncClient) -> None:
    async def run() -> None:
        assert (await http.get(STATE_PATH)).status_code == 401
        assert (await http.get(STATE_PATH, headers={"Authorization": "Bearer wrong"})).status_code == 401
        assert (await http.get(STATE_PATH, headers=RAY)).status_code == 200
        assert (await http.get(STATE_PATH, headers=CLIENT)).status_code == 200
        assert (await http.post(REPLICAS_PATH, json=REPORT, headers=CLIENT)).status_code == 401
        assert (await http.post(GATEWAY_PATH, json={"ready": True}, headers=CLIENT)).status_code == 401
        assert (await http.post(GATEWAY_PATH, json={"ready": True})).status_code == 401
        assert (await http.get(TARGETS_PATH)).status_code == 401
        assert (await http.get(TARGETS_PATH, headers=CLIENT)).json() == []
        assert (await http.get(HEALTH_PATH)).status_code == 200
        assert (await http.get("/", headers=RAY)).status_code == 404

    asyncio.run(run())


def test_prometheus_finds_the_gateway_and_the_replicas_that_have_servers(http: httpx2.AsyncClient) -> None:
    ready = {**REPORT, "httpUrl": "http://10.0.0.5:31000"}
    draining = {**REPORT, "id": "b", "state": "Draining", "httpUrl": "http://[fd00::5]:31001"}
    starting = {**REPORT, "id": "c", "state": "Starting"}

    async def run() -> None:
        for report in (ready, draining, starting):
            await http.post(REPLICAS_PATH, json=report, headers=RAY)
        await http.post(GATEWAY_PATH, json={"ready": True, "url": "http://10.0.0.4:8470"}, headers=RAY)
        answer = await http.get(TARGETS_PATH, headers=CLIENT)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == [
            {"targets": ["10.0.0.4:8470"], "labels": {"component": "gateway"}},
            {"targets": ["10.0.0.5:31000"], "labels": {"component": "replica", "deployment": "m"}},
            {"targets": ["[fd00::5]:31001"], "labels": {"component": "replica", "deployment": "m"}},
        ]

    asyncio.run(run())


def test_what_the_gateway_reports_is_in_the_state_and_wakes_who_waits(http: httpx2.AsyncClient) -> None:
    async def run() -> None:
        first = await state(http)
        assert first.gateway is None
        waiting = asyncio.create_task(state(http, since=first.revision, wait=30))
        await asyncio.sleep(0.05)
        report = {"ready": False, "message": "HAProxy is being started", "url": "http://127.0.0.1:9002", "pid": 7}
        assert (await http.post(GATEWAY_PATH, json=report, headers=RAY)).status_code == 200
        gateway = (await asyncio.wait_for(waiting, 20)).gateway
        assert gateway is not None
        assert (gateway.ready, gateway.message, gateway.pid) == (False, "HAProxy is being started", 7)
        answer = await http.post(GATEWAY_PATH, json={"url": 3}, headers=RAY)
        assert (answer.status_code, answer.json()["error"]["message"][:13]) == (400, "not a Gateway")

    asyncio.run(run())


def test_a_replica_that_is_late_and_whose_port_is_closed_is_suspect_before_three_seconds() -> None:
    async def run() -> None:
        now = 100.0
        directory = Directory(lambda: now)
        service = DirectoryService(directory, State(runtime_version="0.1.0", ray_version="2.60.0", instance="i", revision=0))
        with listen("127.0.0.1", 0) as alive, listen("127.0.0.1", 0) as dead:
            urls = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in (alive, dead)]
            dead.close()
            for id_, url in zip(("alive", "dead"), urls, strict=True):
                directory.report(Replica.model_validate(REPORT | {"id": id_, "httpUrl": url}))
            now += LATE_SECONDS + 0.1
            sweeping = asyncio.create_task(service.sweep_forever())
            await asyncio.wait_for(service.changed.wait(30), 30)
            sweeping.cancel()
        assert {view.id: view.suspect for view in directory.view()} == {"alive": False, "dead": True}
        assert max(view.heartbeat_age for view in directory.view()) < SUSPECT_AFTER_SECONDS

    asyncio.run(run())


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[", "nonsense"])
def test_an_address_that_is_none_is_not_known_to_be_closed(url: str) -> None:
    assert asyncio.run(closed(url)) is False


def test_a_reader_who_knows_the_revision_waits_until_it_changes(http: httpx2.AsyncClient) -> None:
    async def run() -> None:
        known = (await state(http)).revision
        waiting = asyncio.create_task(state(http, since=known, wait=30))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await http.post(REPLICAS_PATH, json=REPORT, headers=RAY)
        assert (await asyncio.wait_for(waiting, 20)).revision > known

    asyncio.run(run())


def test_a_reader_is_answered_at_once_when_it_knows_another_revision_or_instance(http: httpx2.AsyncClient) -> None:
    async def run() -> None:
        known = (await state(http)).revision
        started = time.monotonic()
        await state(http, since=known - 1, wait=30)
        await state(http, since=known, wait=30, instance="earlier")
        assert time.monotonic() - started < 20

    asyncio.run(run())


def test_a_reader_is_answered_when_its_wait_is_over(http: httpx2.AsyncClient) -> None:
    async def run() -> None:
        known = (await state(http)).revision
        assert (await state(http, since=known, wait=0.05)).revision == known

    asyncio.run(run())


def test_nonsense_is_refused_in_words(http: httpx2.AsyncClient) -> None:
    async def run() -> None:
        answer = await http.post(REPLICAS_PATH, json=REPORT | {"state": "Sleepy"}, headers=RAY)
        assert (answer.status_code, answer.json()["error"]["message"][:13]) == (400, "not a Replica")
        answer = await http.get(STATE_PATH, params={"since": "x"}, headers=RAY)
        assert answer.status_code == 400 and "whole number" in answer.json()["error"]["message"]

    asyncio.run(run())
