"""One agent for each shared directory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from matrix_slurm_bridge.agent.errors import LockedElsewhere, LockLost, Unusable
from matrix_slurm_bridge.agent.lock import SAFE_SECONDS, STALE_SECONDS, AgentLock
from matrix_store.owner import this_process


class Clock:
    """Time that passes only by sleeping; `beats` is called at each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.beats: list[AgentLock] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for lock in self.beats:
            lock.heartbeat()


ELSEWHERE = replace(this_process(), host="login2", boot_id="another boot")


def test_the_second_one_on_this_host_is_told_who_is_first(tmp_path: Path) -> None:
    first = AgentLock(tmp_path / "agent")
    first.acquire()
    assert first.safe_to_act()
    with pytest.raises(LockedElsewhere, match=rf"process {this_process().pid} on host "):
        AgentLock(tmp_path / "agent").acquire()
    first.release()
    assert not first.safe_to_act()
    AgentLock(tmp_path / "agent").acquire()


def test_one_on_another_host_lives_while_its_beat_moves(tmp_path: Path) -> None:
    clock = Clock()
    other = AgentLock(tmp_path, ELSEWHERE, clock, clock.sleep)
    other.acquire()
    clock.beats = [other]
    with pytest.raises(LockedElsewhere, match="on host login2"):
        AgentLock(tmp_path, this_process(), clock, clock.sleep).acquire()


def test_one_on_another_host_whose_beat_stands_still_is_given_up_and_learns_of_it(tmp_path: Path) -> None:
    clock = Clock()
    other = AgentLock(tmp_path, ELSEWHERE, clock, clock.sleep)
    other.acquire()
    mine = AgentLock(tmp_path, this_process(), clock, clock.sleep)
    mine.acquire()
    assert clock.now >= STALE_SECONDS and mine.safe_to_act() and not other.safe_to_act()
    with pytest.raises(LockLost, match="taken over by process"):
        other.heartbeat()
    mine.heartbeat()
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["beat", "lock"]


def test_a_process_that_is_gone_leaves_its_lock_to_the_next_at_once(tmp_path: Path) -> None:
    dead = replace(this_process(), pid=2**22 + 1)
    clock = Clock()
    AgentLock(tmp_path, dead, clock, clock.sleep).acquire()
    AgentLock(tmp_path, this_process(), clock, clock.sleep).acquire()
    assert clock.now == 0


def test_without_heartbeats_it_is_not_safe_to_act(tmp_path: Path) -> None:
    clock = Clock()
    lock = AgentLock(tmp_path, this_process(), clock, clock.sleep)
    lock.acquire()
    clock.sleep(SAFE_SECONDS)
    assert not lock.safe_to_act()
    lock.heartbeat()
    assert lock.safe_to_act()


def test_of_several_that_take_over_at_the_same_moment_one_gets_it(tmp_path: Path) -> None:
    dead = replace(this_process(), pid=2**22 + 1)
    for number in range(20):
        directory = tmp_path / str(number)
        AgentLock(directory, dead).acquire()
        rivals = [AgentLock(directory) for _ in range(4)]
        with ThreadPoolExecutor(len(rivals)) as threads:
            won = list(threads.map(_try, rivals, [Barrier(len(rivals), timeout=30)] * len(rivals)))
        assert sum(won) == 1
        winner = rivals[won.index(True)]
        winner.heartbeat()


def _try(lock: AgentLock, start: Barrier) -> bool:
    start.wait()
    try:
        lock.acquire()
    except LockedElsewhere:
        return False
    return True


def test_what_is_no_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("{}")
    with pytest.raises(Unusable, match="is not a lock of an agent"):
        AgentLock(tmp_path).acquire()
