"""Whose a process is, and that no other is ever ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from matrix_slurm_bridge.node.ending import kill_all, signal_process
from matrix_slurm_bridge.node.places import Place
from matrix_slurm_bridge.node.procfs import MARKER, family
from matrix_store.process_identity import ProcessIdentity, identify

Start = Callable[..., "subprocess.Popen[str]"]
_SECONDS = 60.0


@pytest.fixture
def marker() -> Iterator[str]:
    """What carries it is ended after the test."""
    value = f"test-{os.getpid()}-{time.time_ns()}"
    yield value
    kill_all(lambda: family(value), _SECONDS)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes, and ends them by their handles."""
    started: list[subprocess.Popen[str]] = []

    def start(marker: str | None, *argv: str) -> subprocess.Popen[str]:
        environment = dict(os.environ) | ({MARKER: marker} if marker else {})
        words = argv or ("sleep", "120")
        started.append(subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pids(marker: str) -> set[int]:
    return {process.pid for process in family(marker)}


def daemon(marker: str, start: Start, *, clears: bool) -> tuple[int, int]:
    """A marked process and its child, which leads a session of its own and may have cleared its environment."""
    child = "env -i sleep 120" if clears else "sleep 120"
    parent = start(marker, "bash", "-c", f"setsid {child} >/dev/null 2>&1 & echo $!; wait")
    assert parent.stdout is not None
    return parent.pid, int(parent.stdout.readline())


@pytest.mark.parametrize("clears", [False, True])
def test_children_of_children_are_found_whatever_session_they_lead(marker: str, start: Start, clears: bool) -> None:
    parent, child = daemon(marker, start, clears=clears)
    wait_for(lambda: {parent, child} <= pids(marker))


def test_a_stranger_is_not_found_and_lives_on(marker: str, start: Start) -> None:
    ours, other, stranger = start(marker), start(f"{marker}x"), start(None)
    wait_for(lambda: pids(marker) == {ours.pid})
    assert kill_all(lambda: family(marker), _SECONDS) == []
    assert ours.wait(_SECONDS) == -signal.SIGKILL
    assert other.poll() is None and stranger.poll() is None


def test_the_root_and_who_is_left_out_are_not_of_the_family(marker: str, start: Start) -> None:
    parent, child = daemon(marker, start, clears=False)
    wait_for(lambda: {parent, child} <= pids(marker))
    assert {process.pid for process in family(marker, root=parent)} == {child}
    assert {process.pid for process in family(marker, without=frozenset({child}))} == {parent}


def test_a_pid_that_is_used_again_is_not_signalled(start: Start) -> None:
    stranger = start(None)
    found = identify(stranger.pid)
    assert found is not None
    former = ProcessIdentity(found.pid, found.start_ticks - 1, found.boot_id)
    assert not signal_process(former, signal.SIGKILL)
    assert stranger.poll() is None
    assert signal_process(found, signal.SIGKILL)


def test_a_process_that_has_gone_is_no_error(start: Start) -> None:
    process = start(None, "true")
    found = identify(process.pid)
    process.wait(_SECONDS)
    assert found is None or not signal_process(found, signal.SIGTERM)


_PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from matrix_slurm_bridge.node.ending import adopt_orphans, start_guardian
from matrix_slurm_bridge.node.places import Place
from matrix_slurm_bridge.node.procfs import MARKER
marker, place = sys.argv[1], Path(sys.argv[2])
guardian = start_guardian(marker, Place(place, place))
adopt_orphans()
child = subprocess.Popen(["sleep", "120"], env={MARKER: marker, "PATH": os.environ["PATH"]}, start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_when_the_program_is_killed_its_guardian_ends_what_it_started(marker: str, tmp_path: Path) -> None:
    place = Place(tmp_path / "place", tmp_path / "place")
    place.directory.mkdir()
    program = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, marker, str(place.directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    child = int(program.stdout.readline())
    wait_for(lambda: pids(marker) == {child})
    program.kill()
    program.communicate()
    wait_for(lambda: not pids(marker))
    wait_for(lambda: not place.directory.exists())


def test_a_child_that_outlives_its_parent_is_still_the_programs(marker: str) -> None:
    code = """
import os, subprocess, sys
from matrix_slurm_bridge.node.ending import adopt_orphans
from matrix_slurm_bridge.node.procfs import family
adopt_orphans()
middle = subprocess.run(["bash", "-c", "env -i setsid sleep 120 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
print(middle.stdout.strip(), *[found.pid for found in family(sys.argv[1], root=os.getpid())], flush=True)
sys.stdin.read()
"""
    program = subprocess.Popen([sys.executable, "-c", code, marker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    orphan, *found = [int(word) for word in program.stdout.readline().split()]
    os.kill(orphan, signal.SIGKILL)
    program.communicate("")
    assert found == [orphan]
