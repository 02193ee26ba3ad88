"""`matrix events --watch` waits out what `matrix get --watch` waits out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from matrix_cli.commands import events
from matrix_cli.settings import Settings
from matrix_client.context import Context, LocalContext
from matrix_client.kubernetes_context import KubernetesContext
from matrix_crds.keys import ObjectKey
from matrix_store.errors import Busy, Corrupt, Forbidden, Unavailable
from matrix_store.port import Event, EventType
from matrix_store.sqlite import SqliteStore
from tests.unit.client.worlds import LAB, World


class Enough(Exception):
    """The test has seen what it wanted to."""


def happened(reason: str) -> Event:
    now = datetime.now(UTC)
    return Event(LAB, "uid", EventType.NORMAL, reason, "told", now, now)


class Script(SqliteStore):
    """Answers one look after the other as it was told."""

    def __init__(self, *answers: Sequence[Event] | Exception) -> None:
        self._answers = [*answers, Enough()]

    async def events(self, key: ObjectKey | None = None, namespace: str | None = None) -> Sequence[Event]:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def follow(context: Context, *answers: Sequence[Event] | Exception) -> None:
    context._store = Script(*answers)  # type: ignore[attr-defined]
    asyncio.run(events._follow(context, (), Settings(), "json", ()))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(events, "REMOTE_POLL_SECONDS", 0.0)


@pytest.mark.parametrize("error", [Unavailable("the server is away"), Forbidden("the role is made anew")])
def test_an_api_server_that_does_not_answer_for_a_while_is_waited_for(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    first = happened("First")
    with pytest.raises(Enough):
        follow(KubernetesContext(), [first], error, [first, happened("Second")])
    assert [json.loads(line)["reason"] for line in capsys.readouterr().out.splitlines()] == ["First", "Second"]


def test_on_this_machine_a_file_that_is_held_is_waited_for_and_a_damaged_one_is_not(empty: World) -> None:
    with pytest.raises(Enough):
        follow(LocalContext(empty.home), Busy("held"), [])
    with pytest.raises(Corrupt):
        follow(LocalContext(empty.home), Corrupt("damaged"), [])
