"""Tables, ages and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from matrix_cli.columns import value_at
from matrix_cli.tables import table_lines
from matrix_cli.times import Duration, age, span

HEADERS = ("NAME", "SUMMARY", "AGE")
ROWS = [("lab", "all is well", "3s"), ("a-longer-name", "waiting for the head node to come up", "12m")]


def plain(lines: list[str]) -> list[str]:
    return [click.unstyle(line) for line in lines]


def test_columns_are_aligned_and_nothing_is_cut_without_a_terminal() -> None:
    assert table_lines(HEADERS, ROWS) == [
        "NAME           SUMMARY                               AGE",
        "lab            all is well                           3s",
        "a-longer-name  waiting for the head node to come up  12m",
    ]


def test_the_flexible_column_gives_way_to_the_terminal() -> None:
    lines = table_lines(HEADERS, ROWS, 42, flexible=1)

    assert max(map(len, lines)) <= 42
    assert lines[2] == "a-longer-name  waiting for the head …  12m"


def test_a_wrapped_column_goes_on_below_itself() -> None:
    lines = table_lines(("TYPE", "MESSAGE"), [("Ready", "one two three four five six\n  | a line of its own")], 28, wrap=True)

    assert lines == ["TYPE   MESSAGE", "Ready  one two three four", "       five six", "         | a line of its own"]


def test_states_are_coloured_and_still_aligned() -> None:
    lines = table_lines(("READY", "AGE"), [("True", "3s"), ("Unknown", "4s")])

    assert lines[1] != click.unstyle(lines[1])
    assert plain(lines) == ["READY    AGE", "True     3s", "Unknown  4s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0.9, "0s"), (119, "119s"), (125, "2m5s"), (180, "3m"), (700, "11m"), (7200, "120m"), (11_000, "3h"), (200_000, "2d")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_the_age_of_what_has_no_time_is_empty() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert age(None) == ""
    assert age(now - timedelta(seconds=5), now) == "5s"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86_400)])
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "3 m", "1w"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write seconds, or 90s, 10m, 2h"):
        Duration().convert(text, None, None)


RAW = {"status": {"workers": {"display": "3/4"}, "conditions": [{"type": "Up", "status": "x"}, {"type": "Ready", "status": "True"}]}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".status.workers.display", "3/4"),
        ('.status.conditions[?(@.type=="Ready")].status', "True"),
        ('.status.conditions[?(@.type=="No")].status', None),
        (".status.nothing.there", None),
        (".spec.replicas", None),
    ],
)
def test_printer_columns_are_read_by_their_path(path: str, value: object) -> None:
    assert value_at(RAW, path) == value
