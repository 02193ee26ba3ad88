"""Finding the model in a body, waiting, and what is told about replicas."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from matrix_proto.errors import ErrorReason
from matrix_proto.keys import KEYS_FILE, ApiKey, ApiKeys
from matrix_proto.state import Progress, ReplicaState, ReplicaView, StartPhase, State
from matrix_runtime.gateway import metrics, words
from matrix_runtime.gateway.board import doing, shared
from matrix_runtime.gateway.body import NoModel, find_model
from matrix_runtime.gateway.key_file import KeyFile
from matrix_runtime.gateway.settings import ServedModel
from matrix_runtime.gateway.waiting import WaitingRoom, unknown_model, wait_seconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JSON = "application/json"
FORM = "multipart/form-data; boundary=XX"
PART = b'--XX\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'

FOUND = [
    (b'{"model": "a"}', JSON, "a"),
    (b'{"messages": [{"model": "no"}], "model": "a"}', JSON, "a"),
    (b'{"model": "no", "model": "a"}', JSON, "a"),
    (b'{"model": "no", "mod\\u0065l": "a"}', JSON, "a"),
    (b'{"model": "a\\/b", "x": NaN}', JSON, "a/b"),
    (b'{"model": "a", "x": "\\ud800"}', JSON, "a"),
    (b'{"model": "a"}', "", "a"),
    (PART % (b"file", b'name="model"') + PART % (b"model", b"a") + b"--XX--\r\n", FORM, "a"),
]


@pytest.mark.parametrize(("body", "content_type", "model"), FOUND)
def test_the_model_is_found_as_pythons_parser_would(body: bytes, content_type: str, model: str) -> None:
    assert find_model(body, content_type) == model


NOT_FOUND = [
    (b"", JSON, "empty"),
    (b"nonsense", JSON, "not JSON"),
    (b"[" * 100_000, JSON, "not JSON"),
    (b'{"model": "a"', JSON, "not JSON"),
    (b'"model"', JSON, "JSON object"),
    (b'{"model": 1}', JSON, "must name a model"),
    (b'{"x": {"model": "a"}}', JSON, "must name a model"),
    (PART % (b"file", b"x") + b"--XX--\r\n", FORM, "field `model`"),
    (b"anything", "multipart/form-data", "field `model`"),
    (b"--XX" * 2000 + PART % (b"model", b"a"), FORM, "field `model`"),
]


@pytest.mark.parametrize(("body", "content_type", "why"), NOT_FOUND)
def test_a_body_without_a_model_is_explained(body: bytes, content_type: str, why: str) -> None:
    with pytest.raises(NoModel, match=why):
        find_model(body, content_type)


class FakeBoard:
    """One model; replicas by decree."""

    def __init__(self) -> None:
        self.declared: dict[str, ServedModel] = {"m": ServedModel(name="m", application="x")}
        self.ready = False
        self.bell = asyncio.Event()

    def model(self, name: str) -> ServedModel | None:
        return self.declared.get(name)

    def names(self) -> list[str]:
        return sorted(self.declared)

    def backend(self, name: str) -> str | None:
        return "least-0"

    def up(self, application: str) -> bool:
        return self.ready

    async def news(self, seconds: float) -> None:
        self.bell.clear()
        await asyncio.wait_for(self.bell.wait(), 10)

    async def describe(self, application: str) -> str:
        return "it is loading"


def test_waiting_ends_with_a_replica_a_withdrawal_zero_or_the_deadline() -> None:
    async def run() -> None:
        board, clock = FakeBoard(), [0.0]
        room = WaitingRoom(board, lambda: clock[0], most=2)
        model = board.declared["m"]

        async def wait() -> ErrorReason | str | None:
            with room.place("m") as place:
                refusal = await room.until_up(model, place, deadline=5)
            if refusal is None:
                return None
            return refusal.message if refusal.reason is ErrorReason.NOT_READY else refusal.reason

        async def waiting() -> asyncio.Task[ErrorReason | str | None]:
            task = asyncio.create_task(wait())
            await asyncio.sleep(0)  # it takes its place
            return task

        first, second = await waiting(), await waiting()
        await asyncio.sleep(0)
        assert room.full and room.count("m") == 2
        clock[0] = 6
        board.bell.set()
        told = str(await first), str(await second)
        assert all("no replica of 'm' is ready: it is loading" in words for words in told)
        assert "number 1 of" in told[0], "who came first is first, whoever is told first"
        assert not room.full and room.waited_seconds["m"] == 12

        clock[0] = 0
        third = await waiting()
        board.ready = True
        board.bell.set()
        assert await third is None

        board.ready = False
        fourth = await waiting()
        board.declared = {"m": model.model_copy(update={"replicas": 0})}
        board.bell.set()
        assert "scaled to zero" in str(await fourth)

        board.declared = {"m": model}
        fifth = await waiting()
        board.declared = {}
        board.bell.set()
        assert await fifth is ErrorReason.UNKNOWN_MODEL

    asyncio.run(run())


def test_how_long_to_wait_is_bounded() -> None:
    assert (wait_seconds(None), wait_seconds("0"), wait_seconds("1e9"), wait_seconds("inf")) == (60, 0, 600, 600)
    for nonsense in ("", "x", "-1", "nan"):
        with pytest.raises(ValueError):
            wait_seconds(nonsense)


def test_an_unknown_model_is_told_with_those_that_exist() -> None:
    assert unknown_model("smolm2", ["qwen", "smollm2"]).message == "no model 'smolm2'; did you mean 'smollm2'? there is qwen, smollm2"
    assert unknown_model("x", []).message == "no model 'x'; nor any other"


def view(state: str, **more: object) -> ReplicaView:
    fields = {"id": "a", "application": "x", "model": "m", "state": ReplicaState(state), "since": NOW, "pid": 1}
    return ReplicaView.model_validate(fields | more)


DOING = [
    ([], "no replica has been started yet"),
    ([view("Draining")], "a replica is stopping"),
    ([view("Failed", message="no such file")], "the last start failed (no such file)"),
    (
        [view("Starting", phase=StartPhase.DOWNLOADING, message="org/m", progress=Progress(done=10, total=2000)), view("Failed")],
        "a replica is starting (Downloading org/m 10 of 2,000 bytes)",
    ),
]


@pytest.mark.parametrize(("views", "expected"), DOING)
def test_what_is_being_waited_for_is_told_in_words(views: list[ReplicaView], expected: str) -> None:
    assert doing(views) == expected


def test_a_crowd_that_asks_at_once_shares_one_look_at_the_directory() -> None:
    async def run() -> None:
        looks, arrived = 0, asyncio.Event()

        async def look() -> State:
            nonlocal looks
            looks += 1
            await arrived.wait()
            if looks == 2:
                raise OSError("away")
            return State(runtime_version="1", ray_version="2", instance="i", revision=looks)

        together = shared(look)
        crowd: list[asyncio.Future[State]] = [asyncio.ensure_future(together()) for _ in range(50)]
        await asyncio.sleep(0)
        crowd[0].cancel()  # the one who began to look leaves
        await asyncio.sleep(0)
        arrived.set()
        assert {(await one).revision for one in crowd[1:]} == {1} and looks == 1
        with pytest.raises(OSError, match="away"):
            await together()
        assert (await together()).revision == 3

    asyncio.run(run())


def test_a_key_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file, keys = tmp_path / KEYS_FILE, KeyFile(tmp_path)
    assert keys.read() == () and keys.problem == ""
    file.write_text(ApiKeys(keys=(ApiKey(id="a", digest="FF", created=NOW),)).model_dump_json(by_alias=True))
    assert [key.id for key in keys.read()] == ["a"]
    file.write_text("{")
    assert [key.id for key in keys.read()] == ["a"] and KEYS_FILE in keys.problem
    file.unlink()
    assert keys.read() == () and keys.problem == ""


def test_every_status_that_haproxy_makes_has_words_and_only_what_helps_is_retryable() -> None:
    assert {status for status, refusal in words.BY_STATUS.items() if refusal.headers()["matrix-retryable"] == "1"} == {500, 502, 503}
    assert all(refusal.http_status == status for status, refusal in words.BY_STATUS.items())


ROW = {
    **dict.fromkeys(("scur", "rtime", "ttime", "qtime", "act", "wretr", "wredis", "cli_abrt", "srv_abrt", "eresp", "bin", "bout"), "1"),
    **{f"hrsp_{code}": "2" for code in metrics.CODES},
}


def test_metrics_have_the_models_names() -> None:
    rows = [
        ROW | {"pxname": "openai", "type": "0"},
        ROW | {"pxname": "least-0", "type": "1", "rtime": "250"},
        ROW | {"pxname": "least-0-grpc", "type": "1", "scur": ""},
        ROW | {"pxname": "least-1", "type": "1"},
    ]
    page = metrics.text(rows, {"least-0": "m"}, WaitingRoom(FakeBoard())).decode()
    assert 'matrix_gateway_first_byte_seconds{model="m",protocol="http"} 0.25' in page
    assert 'matrix_gateway_requests_total{code="2xx",model="m",protocol="http"} 2.0' in page
    assert 'matrix_gateway_in_flight{model="m",protocol="grpc"} 0.0' in page
    assert 'matrix_gateway_broken_by_replica_total{model="m",protocol="http"} 2.0' in page
    assert 'matrix_gateway_answers_total{code="4xx"} 2.0' in page
    assert "least" not in page
