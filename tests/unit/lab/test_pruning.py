"""What is removed from the lab's cache, and above all what is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

from filelock import FileLock

from tests.lab.pruning import LOCK, UNUSED_SECONDS, prune, used

OLD = time.time() - UNUSED_SECONDS - 60


def build(root: Path, name: str, asked: float = OLD) -> Path:
    """A directory as a build leaves it, last asked for at that time."""
    directory = root / name
    directory.mkdir()
    (directory / "etcd").write_text("program")
    (directory / LOCK).touch()
    os.utime(directory / LOCK, (asked, asked))
    return directory


def test_builds_that_nobody_wants_go_and_the_others_stay(tmp_path: Path) -> None:
    old, recent, asked_for = (build(tmp_path, digit * 16) for digit in "abc")
    os.utime(recent / LOCK)
    used(asked_for)
    assert prune(tmp_path) == ["a" * 16]
    assert [path.exists() for path in (old, recent, asked_for)] == [False, True, True]


def test_what_is_not_provably_a_build_stays(tmp_path: Path) -> None:
    layers, other, unlocked = (build(tmp_path, name) for name in ("layers", "A" * 16, "d" * 16))
    (unlocked / LOCK).unlink()
    outside = build(tmp_path.parent, "e" * 16)
    (tmp_path / ("e" * 16)).symlink_to(outside)
    (tmp_path / ("f" * 16)).write_text("a file")
    assert prune(tmp_path) == []
    assert all((path / "etcd").exists() for path in (layers, other, unlocked, outside))


def test_one_that_is_being_built_in_stays(tmp_path: Path) -> None:
    directory = build(tmp_path, "a" * 16)
    with FileLock(directory / LOCK):
        os.utime(directory / LOCK, (OLD, OLD))
        assert prune(tmp_path) == []
    assert (directory / "etcd").exists()
