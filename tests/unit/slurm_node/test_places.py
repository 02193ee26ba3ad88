"""The directory of a job on its node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from matrix_slurm_bridge.node.errors import NodeFailure
from matrix_slurm_bridge.node.places import Place, choose_place, make_place, remove_place, remove_session

_SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/dash_UsageStatsHead"


def test_the_jobs_own_directory_comes_before_tmp(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "t").mkdir()
    environ = {"SLURM_TMPDIR": str(tmp_path / "job"), "TMPDIR": str(tmp_path / "t")}
    assert choose_place("m", None, environ).directory.parent == tmp_path / "job"
    assert choose_place("m", None, environ | {"SLURM_TMPDIR": str(tmp_path / "missing")}).directory.parent == tmp_path / "t"
    assert choose_place("m", tmp_path, environ).directory.parent == tmp_path
    assert choose_place("m", None, {}).directory.parent == Path("/tmp")


def test_sockets_fit_however_long_the_directory_is(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    place = choose_place(f"m{os.getpid()}", long, {})
    make_place(place)
    try:
        assert place.directory.parent == long and place.path.resolve() == place.directory
        assert len(os.fsencode(place.ray / _SOCKET)) <= 107
        assert place.directory.stat().st_mode & 0o777 == 0o700 and place.temporary.is_dir()
    finally:
        remove_place(place)
    assert not place.path.is_symlink() and list(long.iterdir()) == []


def test_two_runs_on_one_node_have_two_places() -> None:
    assert choose_place("a", None, {}) != choose_place("b", None, {})


def test_what_is_there_already_is_not_taken(tmp_path: Path) -> None:
    place = choose_place("m", tmp_path, {})
    place.directory.mkdir()
    with pytest.raises(NodeFailure, match="can't be made"):
        make_place(place)


def test_no_place_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NodeFailure, match="localDirectory"):
        choose_place("m", tmp_path / "missing", {})


def test_a_later_ray_finds_nothing_of_the_former_one(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path)
    for path in (place.ray, place.gcs_storage, place.temporary):
        path.mkdir()
        (path / "x").write_text("x")
    remove_session(place)
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
