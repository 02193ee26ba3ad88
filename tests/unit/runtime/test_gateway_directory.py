"""Directories of gateways: a dead one's goes, a living one's never."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix_runtime.gateway.directory import OwnDirectory

ANOTHER = """
import sys
from matrix_runtime.gateway.directory import OwnDirectory
directory = OwnDirectory(8470)
print(directory.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def another(here: Path) -> Iterator[subprocess.Popen[str]]:
    """A gateway of the same port in another process."""
    environment = os.environ | {"TMPDIR": str(here)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", ANOTHER], stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield process
        process.kill()


def test_what_a_killed_gateway_has_left_is_cleared_away_and_a_living_ones_is_not(another: subprocess.Popen[str]) -> None:
    assert another.stdout is not None
    theirs = Path(another.stdout.readline().strip())
    own = OwnDirectory(8470)
    own.clear_others()
    assert theirs.is_dir() and own.path.is_dir(), "two pods may have the same port"
    another.send_signal(signal.SIGKILL)
    another.wait(10)
    own.clear_others()
    assert not theirs.exists() and own.path.is_dir()
    own.remove()
    assert not own.path.exists()


def test_a_directory_is_for_its_owner_alone_and_a_link_is_not_followed(here: Path) -> None:
    (here / "victim").mkdir()
    (here / "mx-gateway-1-link").symlink_to(here / "victim")
    own = OwnDirectory(8470)
    own.clear_others()
    assert own.path.stat().st_mode & 0o777 == 0o700 and (here / "victim").is_dir()
    own.remove()
