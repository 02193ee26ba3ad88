"""docs/record.py: what stands on the screen after some output, and the picture of it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "docs" / "record.py"


@pytest.fixture(scope="module")
def record() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("one\r\ntwo\n", ["one", "two", ""]),
        ("waiting\r\x1b[2Kdone\r\n", ["done", ""]),
        ("\x1b[?25la\r\nb\r\x1b[2K\x1b[1A\x1b[2KA\r\nB\r\n\x1b[?25h", ["A", "B", ""]),
        ("over\rnew", ["new"]),
        ("\x1b[32mgreen\x1b[0m", ["\x1b[32mgreen\x1b[0m"]),
    ],
)
def test_the_screen_after_some_output(record: ModuleType, output: str, lines: list[str]) -> None:
    assert record.Screen().feed(output) == lines


def test_a_real_command_on_a_terminal_of_its_own(record: ModuleType) -> None:
    output = record.run("test -t 1 && stty size && printf '\\033[1mbold\\033[0m'", {"PATH": "/usr/bin:/bin"})

    assert record.Screen().feed(output) == [f"{record.ROWS} {record.COLUMNS}", "\x1b[1mbold\x1b[0m"]


def test_a_command_that_fails_ends_it(record: ModuleType) -> None:
    with pytest.raises(SystemExit, match="boom"):
        record.run("echo boom; exit 3", {"PATH": "/usr/bin:/bin"})


def test_the_picture_needs_nothing_from_elsewhere(record: ModuleType) -> None:
    svg = record.picture([f"{record.PROMPT}matrix get", "\x1b[32mTrue\x1b[0m"], "matrix")

    assert "matrix" in svg and "True" in svg
    assert re.findall(r"url\((?!#)", svg) == []
    assert "@font-face" not in svg
