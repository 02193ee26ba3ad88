"""When the gateway looks again."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from matrix_client.directory_watch import KnownReplica
from matrix_proto.state import Gateway as Report
from matrix_proto.state import State
from matrix_runtime.gateway import gateway
from matrix_runtime.gateway.board import KnownBoard
from matrix_runtime.gateway.settings import GatewaySettings, ServedModel
from tests.unit.runtime.gateway_replicas import known

SECONDS = 20


class NoReplicas:
    replicas: Mapping[str, KnownReplica] = MappingProxyType({})
    connected, last_error = True, ""


async def no_look() -> State:
    raise OSError("there is no directory here")


class Looks(gateway.Gateway):
    """Its look only counts, and something changes during the first one."""

    looks = 0
    finds_ready = True

    async def _step(self) -> Report:
        self.looks += 1
        if self.looks == 1:
            self._board.ring()
        return Report(ready=self.finds_ready)


@pytest.mark.parametrize(("ready", "looks"), [(True, 2), (False, 1)])
def test_what_changes_during_a_look_is_looked_at_at_once_unless_it_failed(
    ready: bool, looks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gateway, "LOOK_SECONDS", 600)

    async def run() -> None:
        board = KnownBoard(NoReplicas(), no_look)
        waits = asyncio.Event()

        async def news(seconds: float) -> None:
            waits.set()
            await asyncio.sleep(seconds)

        monkeypatch.setattr(board, "news", news)
        looked = Looks("127.0.0.1", 8000, "http://127.0.0.1:8000", tmp_path, board, lambda report: None)
        looked.finds_ready = ready
        running = asyncio.create_task(looked.run())
        await asyncio.wait_for(waits.wait(), SECONDS)
        assert looked.looks == looks
        running.cancel()
        await looked.stop()

    asyncio.run(run())


def test_a_refusal_of_haproxys_is_told_only_when_it_persists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    looked = gateway.Gateway("127.0.0.1", 8000, "http://127.0.0.1:8000", tmp_path, KnownBoard(NoReplicas(), no_look), lambda report: None)
    told = [looked._refusal(refused) for refused in (["no"], ["no"], [], ["no"], ["no"], ["no", "never"], [])]
    assert told == ["", "", "", "", "", "HAProxy refused 2 changes, the first: no", ""]
    asyncio.run(looked.stop())


def test_a_model_is_up_when_a_replica_has_a_name_that_it_is_served_under() -> None:
    board = KnownBoard(NoReplicas(), no_look)
    board.configure(GatewaySettings(models=(ServedModel(name="former", application="x"),)))
    board.routed({"a": known("a", "x", 1, model="former")})
    assert board.up("x") and not board.up("y")
    board.configure(GatewaySettings(models=(ServedModel(name="now", application="x"),)))
    assert not board.up("x"), "what is asked under the new name waits for a replica that knows it"
    board.routed({"a": known("a", "x", 1, model="former"), "b": known("b", "x", 11, model="now")})
    assert board.up("x")
