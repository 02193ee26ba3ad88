"""`matrix bridge`, as far as no Slurm is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix_cli.bridge.runtime import checkout_of, release
from matrix_cli.bridge.service import unit_path, unit_text
from matrix_cli.commands.bridge import _options
from matrix_client.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_unit_runs_this_program_with_words_that_systemd_reads_as_they_are() -> None:
    text = unit_text(["--hub", "h:1", "--token-file", "/home/a b/100%/$x"])
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert command.endswith('-m matrix_cli bridge run --hub h:1 --token-file "/home/a b/100%%/$$x"')
    assert "KillMode=process" in text


def test_the_unit_is_where_systemd_looks(tmp_path: Path) -> None:
    assert unit_path({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "systemd" / "user" / "matrix-bridge.service"


def test_only_options_that_were_given_are_in_the_unit_and_paths_are_absolute() -> None:
    options = _options(None, {"address": "h:1", "site": None, "token_file": Path("token"), "ca": None})
    assert options == ["--hub", "h:1", "--token-file", str(Path("token").absolute())]


def test_a_release_is_another_one_when_requirements_or_sources_are(tmp_path: Path) -> None:
    for part in ("proto", "requirements"):
        (tmp_path / part).mkdir()
    (tmp_path / "requirements" / "cpu.txt").write_text("a==1\n")
    first = release(tmp_path, tmp_path / "requirements" / "cpu.txt")
    assert first == release(tmp_path, tmp_path / "requirements" / "cpu.txt") and first.startswith("cpu-")
    (tmp_path / "proto" / "a.py").write_text("x = 1\n")
    assert release(tmp_path, tmp_path / "requirements" / "cpu.txt") != first


def test_a_checkout_is_needed(tmp_path: Path) -> None:
    assert checkout_of(None) == CHECKOUT
    with pytest.raises(UsageError, match="--checkout"):
        checkout_of(tmp_path)
