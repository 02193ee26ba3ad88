"""What former clusters may have left. Others' things are never named, and nothing is removed."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from matrix_cli.causes import OrphanedRay
from matrix_cli.doctor.findings import Finding, gib, ok, warning
from matrix_cli.times import span
from matrix_store.home import Home

OLD_SECONDS = 600.0
"""A younger directory may be of a cluster that is about to start."""
MOST_FILES = 5_000
"""So many are looked at to say how large a directory is."""
CONTROLLER = "matrix_cli.controller_process"


def look(home: Home) -> Iterator[Finding]:
    """Raises ImportError where the extra `operator` is not installed."""
    from matrix_operator.backends.local.orphans import find_orphans
    from matrix_operator.backends.local.places import temporary_directories, temporary_directory
    from matrix_operator.backends.local.procfs import Processes

    processes = Processes()
    yield from judge_orphans([OrphanedRay(orphan.uid, orphan.home, orphan.what) for orphan in find_orphans(processes)])
    living = {process.uid for process in processes.marked()}
    recorded = {path.name for path in home.clusters.iterdir()} if home.clusters.is_dir() else set()
    in_use = {temporary_directory(uid) for uid in living | recorded}
    yield from judge_directories([path for path in temporary_directories() if path not in in_use], time.time())
    yield from judge_controllers(_controllers())


def judge_orphans(orphans: Sequence[OrphanedRay]) -> Iterator[Finding]:
    for orphan in orphans:
        fact = f"{orphan.uid} still runs ({orphan.what}), its record in {orphan.home or 'a state directory'} is lost"
        yield warning("orphaned Ray", fact, f"end it with `matrix controller end-orphan {orphan.uid}`")
    if not orphans:
        yield ok("orphaned Rays", "none")


def judge_directories(unknown: Collection[Path], now: float) -> Iterator[Finding]:
    """`unknown`: temporary directories of ours that neither a process nor this state directory needs."""
    ages = {path: age for path in unknown if (age := _age(path, now)) is not None}
    stale = [path for path, age in ages.items() if age > OLD_SECONDS]
    if not stale:
        yield ok("temporary files", "none left over")
        return
    oldest = span(max(ages[path] for path in stale))
    what = "1 directory belongs" if len(stale) == 1 else f"{len(stale)} directories belong"
    fact = f"{what} to nothing that runs ({gib(sum(map(_size, stale)))}, up to {oldest} old)"
    remedy = f"if no other state directory of yours has a stopped cluster: rm -r {' '.join(map(str, stale))}"
    yield warning("temporary files", fact, remedy)


def judge_controllers(homes: Sequence[tuple[int, Path]]) -> Iterator[Finding]:
    """Process and state directory of each controller."""
    for pid, home in homes:
        if not home.exists():
            fact = f"the controller {pid} works for {home}, which is gone"
            yield warning("controllers", fact, f"it ends by itself when it notices; else end it with `kill {pid}`")


def _controllers() -> list[tuple[int, Path]]:
    processes = [(int(entry.name), _words(entry)) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    found = [(pid, words) for pid, words in processes if CONTROLLER in words and "--home" in words[:-1]]
    return [(pid, Path(words[words.index("--home") + 1])) for pid, words in found]


def _words(entry: os.DirEntry[str]) -> list[str]:
    """The command line of a process of this user; empty for others'."""
    try:
        if entry.stat().st_uid != os.geteuid():
            return []
        return os.fsdecode(Path(entry.path, "cmdline").read_bytes()).split("\0")
    except OSError:
        return []


def _age(path: Path, now: float) -> float | None:
    """Seconds; None when it has just gone: a cluster of another state directory may be ending."""
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    """Of its first files, without following links."""
    size, seen = 0, 0
    for directory, _, names in os.walk(path):
        for name in names:
            seen += 1
            if seen > MOST_FILES:
                return size
            with suppress(OSError):
                size += Path(directory, name).lstat().st_size
    return size
