"""`matrix bridge`, as far as no Slurm is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from matrix_cli.bridge.runtime import checkout_of, release
from matrix_cli.bridge.service import UNIT, unit_path, unit_text
from matrix_cli.commands.bridge import _options
from matrix_client.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_unit_runs_this_program_with_words_that_systemd_reads_as_they_are() -> None:
    text = unit_text(["--hub", "h:1", "--token-file", "/home/a b/100%/$x"])
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert command.endswith('-m matrix_cli bridge run --hub h:1 --token-file "/home/a b/100%%/$$x"')
    assert "KillMode=process" in text


def test_the_unit_finds_slurms_commands_as_the_shell_that_wrote_it() -> None:
    text = unit_text([], {"PATH": "/opt/slurm/bin:/usr/bin", "SLURM_CONF": "/etc/a b/slurm.conf", "SBATCH_PARTITION": "gpu"})
    given = [line for line in text.splitlines() if line.startswith("Environment=")]
    assert given == ["Environment=PATH=/opt/slurm/bin:/usr/bin", 'Environment="SLURM_CONF=/etc/a b/slurm.conf"']


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_itself_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT
    unit.write_text(unit_text(["--hub", "h:1", "--token-file", "/home/a b/100%/$x"], {"PATH": "/a%b/$c:/usr/bin"}))
    environ = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(["systemd-analyze", "verify", "--user", unit], capture_output=True, text=True, timeout=60, env=environ)
    assert (done.returncode, done.stderr) == (0, "")


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
