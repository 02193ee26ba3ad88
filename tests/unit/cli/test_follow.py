"""Following a log: its last lines, what is added, and a file that is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_cli.follow import BLOCK_BYTES, Tail


@pytest.mark.parametrize(("lines", "expected"), [(0, []), (2, ["b", "c"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])])
def test_it_begins_with_the_last_lines(tmp_path: Path, lines: int, expected: list[str]) -> None:
    log = tmp_path / "log"
    log.write_text("a\nb\nc\n")

    assert Tail(log, lines).new_lines() == expected


def test_the_last_lines_of_a_large_file_are_found_across_blocks(tmp_path: Path) -> None:
    log = tmp_path / "log"
    long = "x" * BLOCK_BYTES
    log.write_text(f"first\n{long}\n{long}\nlast\n")

    assert Tail(log, 3).new_lines() == [long, long, "last"]


def test_lines_come_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a\nhalf")
    tail = Tail(log, 10)
    assert tail.new_lines() == ["a"]

    with log.open("a") as file:
        file.write(" a line\nb\n")
    assert tail.new_lines() == ["half a line", "b"]
    assert tail.new_lines() == []


def test_a_file_that_is_cut_or_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n" * 5)
    tail = Tail(log, 1)
    tail.new_lines()
    log.write_text("cut\n")
    assert tail.new_lines() == ["cut"]

    log.rename(tmp_path / "log.1")
    assert tail.new_lines() == []
    log.write_text("another one\n")
    assert tail.new_lines() == ["another one"]


def test_a_file_that_comes_later_is_read(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "log", 5)
    assert tail.new_lines() == []
    (tmp_path / "log").write_text("here\n")
    assert tail.new_lines() == ["here"]
