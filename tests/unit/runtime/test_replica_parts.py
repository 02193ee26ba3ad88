from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from matrix_proto.state import FailureReason, Progress, Replica, ReplicaState, StartFailure, StartPhase
from matrix_runtime.engines.port import EngineSettings
from matrix_runtime.engines.select import environment
from matrix_runtime.errors import BadArguments, ModelNotFound, StartFailed
from matrix_runtime.output import Output
from matrix_runtime.serving import reporter as reporter_module
from matrix_runtime.serving.bring_up import bring_up
from matrix_runtime.serving.channel import HostSpec, Ready
from matrix_runtime.serving.host_process import HostProcess
from matrix_runtime.serving.reporter import Reporter
from matrix_runtime.sources.port import Report

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeHost:
    """An engine host that takes as long as it is told."""

    def __init__(self, checking: float = 0.0, error: Exception | None = None, until: asyncio.Event | None = None) -> None:
        self._checking = checking
        self._error = error
        self._until = until
        self.begun = asyncio.Event()
        self.loaded: list[str | None] = []

    async def checked(self) -> None:
        self.begun.set()
        await asyncio.sleep(self._checking)
        if self._until is not None:
            await self._until.wait()
        if self._error:
            raise self._error

    async def load(self, model: str | None) -> Ready:
        self.loaded.append(model)
        return Ready(url="http://127.0.0.1:1", grpc_address="127.0.0.1:2")


def resolving(seconds: float, error: Exception | None = None, ended: list[str] | None = None) -> Any:
    async def resolve(report: Report) -> Path:
        report(StartPhase.CONVERTING, "converting", None)
        try:
            await asyncio.sleep(seconds)
        finally:
            (ended if ended is not None else []).append("ended")
        if error:
            raise error
        return Path("/m")

    return resolve


def test_engine_and_model_are_made_ready_side_by_side() -> None:
    resolved, said = asyncio.Event(), list[StartPhase]()
    host = FakeHost(until=resolved)

    async def resolve(report: Report) -> Path:
        report(StartPhase.CONVERTING, "converting", None)
        await host.begun.wait()
        asyncio.get_running_loop().call_soon(resolved.set)
        return Path("/m")

    async def run() -> Ready:
        async with asyncio.timeout(20):  # neither comes to its end without the other
            return await bring_up(host, resolve, lambda phase, message, progress: said.append(phase))

    ready = asyncio.run(run())
    assert (ready.url, ready.grpc_address) == ("http://127.0.0.1:1", "127.0.0.1:2") and host.loaded == ["/m"]
    assert said == [StartPhase.PREPARING, StartPhase.CONVERTING, StartPhase.PREPARING, StartPhase.LOADING]


def test_bad_arguments_end_a_long_download_at_once() -> None:
    ended: list[str] = []
    with pytest.raises(BadArguments):
        asyncio.run(bring_up(FakeHost(0.05, BadArguments("no")), resolving(600, ended=ended), lambda *told: None))
    assert ended == ["ended"]


def test_a_missing_model_does_not_wait_for_the_engine() -> None:
    with pytest.raises(ModelNotFound):
        asyncio.run(bring_up(FakeHost(600), resolving(0, ModelNotFound("no")), lambda *told: None))


class Directory:
    """Takes reports, or is away."""

    def __init__(self) -> None:
        self.heard: list[Replica] = []
        self.away = False
        self.news = threading.Condition()

    def __call__(self, replica: Replica) -> None:
        if self.away:
            raise OSError("away")
        with self.news:
            self.heard.append(replica)
            self.news.notify_all()

    def until(self, wanted: Any) -> None:
        with self.news:
            assert self.news.wait_for(lambda: any(map(wanted, self.heard)), 10)


def reporter(directory: Directory) -> Reporter:
    seconds = iter(range(1000))
    first = Replica(id="a", application="mx-md-m", model="m", state=ReplicaState.STARTING, since=START, pid=1)
    return Reporter(first, directory, lambda: START + timedelta(seconds=next(seconds)))


def test_a_change_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "HEARTBEAT_SECONDS", 600)
    directory = Directory()
    reports = reporter(directory)
    reports.start()
    try:
        directory.until(lambda replica: replica.state is ReplicaState.STARTING)
        reports.update(state=ReplicaState.READY, http_url="http://x")
        directory.until(lambda replica: replica.state is ReplicaState.READY)
    finally:
        reports.stop()


def test_what_does_not_change_is_reported_each_second() -> None:
    directory = Directory()
    reports = reporter(directory)
    reports.start()
    try:
        directory.until(lambda replica: replica.state is ReplicaState.STARTING)
        count = len(directory.heard)
        with directory.news:
            assert directory.news.wait_for(lambda: len(directory.heard) > count + 1, 10)
    finally:
        reports.stop()


def test_the_directorys_absence_is_survived() -> None:
    directory = Directory()
    directory.away = True
    reports = reporter(directory)
    reports.start()
    try:
        reports.starting(StartPhase.LOADING, "loading")
        directory.away = False
        directory.until(lambda replica: replica.phase is StartPhase.LOADING)
    finally:
        reports.stop()


def test_since_moves_with_state_and_phase_and_not_with_progress() -> None:
    reports = reporter(Directory())
    reports.starting(StartPhase.CONVERTING, "converting, 1 s")
    since = reports.replica.since
    reports.starting(StartPhase.CONVERTING, "converting, 2 s", Progress(done=1))
    assert reports.replica.since == since
    reports.starting(StartPhase.LOADING, "loading")
    assert reports.replica.since > since


def test_failed_has_been_said_when_it_returns_and_is_the_last_word() -> None:
    directory = Directory()
    reports = reporter(directory)
    reports.start()
    reports.failed(StartFailure(reason=FailureReason.OUT_OF_MEMORY, message="too small"))
    assert directory.heard[-1].state is ReplicaState.FAILED
    assert directory.heard[-1].failure is not None and directory.heard[-1].message == "too small"
    reports._thread.join(5)
    assert not reports._thread.is_alive()


def test_output_is_copied_and_its_last_lines_kept() -> None:
    reader, writer = os.pipe()

    async def run() -> Output:
        output, stream = Output(copy_to=writer), asyncio.StreamReader()
        stream.feed_data(b"one\n\x1b")
        stream.feed_data("zwei ü\r 50%\r100%\n\nrest".encode())
        stream.feed_eof()
        await output.copy(stream)
        return output

    output = asyncio.run(run())
    os.close(writer)
    with os.fdopen(reader, "rb") as copied:
        assert copied.read() == b"one\n\x1b" + "zwei ü\r 50%\r100%\n\nrest".encode()
    assert output.last(3) == (" 50%", "100%", "rest")


def settings(engine: dict[str, Any]) -> EngineSettings:
    return EngineSettings.model_validate({"engine": engine, "servedName": "m", "source": "file:///m", "resources": {}})


async def start(engine: dict[str, Any], token: Path) -> HostProcess:
    spec = HostSpec(settings=settings(engine), bind_host="127.0.0.1", announced_host="127.0.0.1", token_file=str(token))
    return await HostProcess.start(spec, environment(spec.settings))


def test_an_engine_host_starts_serves_and_stops(tmp_path: Path) -> None:
    async def run() -> None:
        host = await start({"dummy": {}}, tmp_path / "token")
        await host.checked()
        ready = await host.load(None)
        assert ready.url.startswith("http://127.0.0.1:") and ready.grpc_address.startswith("127.0.0.1:")
        await host.stop(10, 10)
        assert not host.running

    asyncio.run(run())


def test_an_engine_that_does_not_run_here_is_refused_by_its_host(tmp_path: Path) -> None:
    async def run() -> None:
        external = {"provider": "OpenAI", "model": "x", "apiKey": {"secretKeyRef": {"name": "a", "key": "b"}}}
        host = await start({"external": external}, tmp_path / "token")
        with pytest.raises(StartFailed) as caught:
            await host.checked()
        assert caught.value.reason is FailureReason.BAD_ARGUMENTS
        await host.kill()

    asyncio.run(run())


def test_a_killed_engine_host_is_reported_as_such(tmp_path: Path) -> None:
    async def run() -> None:
        host = await start({"dummy": {}}, tmp_path / "token")
        await host.checked()
        os.kill(host.pid, 9)
        with pytest.raises(StartFailed) as caught:
            await host.load(None)
        assert caught.value.reason is FailureReason.OUT_OF_MEMORY

    asyncio.run(run())
