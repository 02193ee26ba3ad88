"""Where the state directory is, and what is in it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from matrix_store.errors import Unavailable
from matrix_store.home import Home


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MATRIX_HOME": "/m", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/m"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/matrix"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/matrix"),
        ({"MATRIX_HOME": "", "XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/matrix"),
    ],
)
def test_the_state_directory_is_found_in_order(environ: dict[str, str], expected: str) -> None:
    assert Home.resolve(environ).root == Path(expected)


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.resolve({"MATRIX_HOME": "state"}).root == tmp_path / "state"


def test_the_layout_is_named() -> None:
    home = Home(Path("/m"))
    assert home.database == Path("/m/matrix.db")
    assert home.controller_log == Path("/m/controller.log")
    assert home.credentials == Path("/m/credentials")
    assert home.cluster("u1") == Path("/m/clusters/u1")


def test_create_makes_private_directories_and_leaves_existing_ones(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir(mode=0o755)
    home = Home(tmp_path / "m")
    home.create()
    home.create()
    assert stat.S_IMODE(home.credentials.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.clusters.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o755


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("")
    with pytest.raises(Unavailable, match=f"{tmp_path / 'm'} is not a directory"):
        Home(tmp_path / "m").create()
    with pytest.raises(Unavailable, match="set MATRIX_HOME"):
        Home(tmp_path / "m" / "deeper").create()
