"""JSON that is read and written often."""

from __future__ import annotations

import json

import pytest

from matrix_store.wire import compact, dumps, loads

VALUES = [{"a": [1, 2.5, None, True, "ü", {"b": ""}]}, [], "", 2**70, -0.0, {"key": "x" * 100_000}]
HALF = "log line \udce4 of latin-1"
"""What Python's own text of undecodable bytes is (surrogateescape): Ray's dashboard hands such messages on."""


@pytest.mark.parametrize("value", VALUES)
def test_it_is_the_json_that_python_reads_and_writes(value: object) -> None:
    assert json.loads(dumps(value)) == loads(json.dumps(value)) == compact(value) == value


def test_half_a_character_costs_nobody_the_rest() -> None:
    assert loads(json.dumps({"message": HALF, "status": "RUNNING"})) == {"message": HALF, "status": "RUNNING"}
    assert json.loads(dumps({"message": HALF})) == {"message": HALF}


@pytest.mark.parametrize("text", ["", "{", '{"a": 1} more', "<html>", b"\xff\xfe", "nul"])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)


def test_short_strings_that_are_alike_are_kept_once() -> None:
    one, other = (loads(b'{"lastTransitionTime":"2026-11-30T10:00:00Z"}') for _ in range(2))
    assert one["lastTransitionTime"] is other["lastTransitionTime"]
    assert next(iter(one)) is next(iter(other))
