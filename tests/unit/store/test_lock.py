"""At most one controller: judged by process identity here and by the heartbeat elsewhere, never by a clock that can be set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from matrix_store.database import Database
from matrix_store.errors import LockedElsewhere
from matrix_store.lock import HEARTBEAT_SECONDS, SAFE_SECONDS, STALE_SECONDS, ControllerLock
from matrix_store.owner import Liveness, Owner, judge, this_process
from tests.unit.store.processes import WAIT_SECONDS, race_for_lock, receive, started, take_lock
from tests.unit.store.support import open_database

HERE = Owner("here", "boot-1", "pid:[1]", 100, 5000)


@pytest.mark.parametrize(
    ("owner", "is_alive", "expected"),
    [
        pytest.param(HERE, True, Liveness.ALIVE, id="a living process of this machine"),
        pytest.param(HERE, False, Liveness.GONE, id="a process of this machine that is gone"),
        pytest.param(replace(HERE, host="renamed"), True, Liveness.ALIVE, id="this machine under its former name"),
        pytest.param(replace(HERE, boot_id="boot-0"), True, Liveness.GONE, id="before the reboot, whatever has its pid now"),
        pytest.param(replace(HERE, pid_namespace="pid:[2]"), False, Liveness.ELSEWHERE, id="another container of this machine"),
        pytest.param(replace(HERE, host="there", boot_id="boot-9"), False, Liveness.ELSEWHERE, id="another host"),
        pytest.param(replace(HERE, host="there", boot_id="boot-9"), True, Liveness.ELSEWHERE, id="another host, the same pid lives here"),
    ],
)
def test_judging_an_owner(owner: Owner, is_alive: bool, expected: Liveness) -> None:
    assert judge(owner, HERE, lambda _: is_alive) is expected


@dataclass
class World:
    """Hosts that share one state file and one flow of time, in which nothing waits for real."""

    path: Path
    now: float = 1000.0
    stack: ExitStack = field(default_factory=ExitStack)
    while_waiting: Callable[[], None] = lambda: None

    def database(self) -> Database:
        database = open_database(self.path)
        self.stack.callback(database.close)
        return database

    def lock(self, here: Owner | None = None, skew: float = 0.0) -> ControllerLock:
        """A controller's lock; `skew` is how far its host's clock is off."""
        return ControllerLock(self.database().connection, here, now=lambda: self.now + skew, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.while_waiting()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "matrix.db")
    with world.stack:
        yield world


ELSEWHERE = Owner("login2", "boot-2", "pid:[1]", 321, 99)


def test_a_free_lock_is_taken_with_its_details_and_given_back(world: World) -> None:
    lock = world.lock()
    assert lock.holder() is None
    assert not lock.safe_to_act()
    lock.acquire({"metricsPort": 8000})
    seen = world.lock().holder()
    assert seen is not None
    assert (seen.owner, seen.liveness, seen.details) == (this_process(), Liveness.ALIVE, {"metricsPort": 8000})
    lock.announce({"metricsPort": 9000})
    seen = world.lock().holder()
    assert seen is not None and seen.details == {"metricsPort": 9000}
    lock.release()
    assert lock.holder() is None
    assert not lock.safe_to_act()
    lock.release()


def test_a_living_process_keeps_others_out_and_is_named(world: World) -> None:
    with started(take_lock, world.path) as (process, pipe):
        receive(pipe)
        with pytest.raises(LockedElsewhere, match=f"process {process.pid}"):
            world.lock().acquire()
        process.kill()
        process.join(WAIT_SECONDS)
        lock = world.lock()
        lock.acquire()
        assert world.now == 1000.0  # nobody had to wait for it
        lock.heartbeat()


@pytest.mark.parametrize(
    "stale",
    [
        pytest.param(replace(this_process(), start_ticks=1), id="its pid belongs to another process"),
        pytest.param(replace(this_process(), boot_id="an earlier one"), id="the machine was rebooted"),
        pytest.param(replace(this_process(), pid=2**22 + 1), id="no process has its pid"),
    ],
)
def test_a_lock_of_this_machine_whose_process_is_gone_is_taken_at_once(world: World, stale: Owner) -> None:
    world.lock(stale).acquire()
    lock = world.lock()
    lock.acquire()
    assert world.now == 1000.0
    assert lock.safe_to_act()


def test_a_controller_on_another_host_whose_heart_beats_is_named(world: World) -> None:
    other = world.lock(ELSEWHERE)
    other.acquire()
    world.while_waiting = other.heartbeat
    with pytest.raises(LockedElsewhere, match="host login2"):
        world.lock().acquire()
    assert other.safe_to_act()


def test_a_controller_on_another_host_whose_heart_has_stopped_is_replaced_and_told(world: World) -> None:
    other = world.lock(ELSEWHERE)
    other.acquire()
    lock = world.lock()
    began = world.now
    lock.acquire()
    assert STALE_SECONDS <= world.now - began <= STALE_SECONDS + 1
    assert not other.safe_to_act()
    with pytest.raises(LockedElsewhere, match="was taken over"):
        other.heartbeat()
    other.release()
    lock.heartbeat()


@pytest.mark.parametrize("skew", [-1e9, -3600.0, 3600.0, 1e9])
def test_clocks_that_differ_by_any_amount_change_nothing(world: World, skew: float) -> None:
    other = world.lock(ELSEWHERE, skew=skew)
    other.acquire()
    last = [world.now]

    def beat_in_time() -> None:
        if world.now - last[0] >= HEARTBEAT_SECONDS:
            last[0] = world.now
            other.heartbeat()

    world.while_waiting = beat_in_time
    with pytest.raises(LockedElsewhere):
        world.lock().acquire()
    world.while_waiting = lambda: None
    world.lock().acquire()


def test_a_holder_stops_acting_before_anyone_can_have_taken_over(world: World) -> None:
    other = world.lock(ELSEWHERE)
    other.acquire()
    lost: list[float] = []

    def look() -> None:
        if not other.safe_to_act() and not lost:
            lost.append(world.now)

    world.while_waiting = look
    world.lock().acquire()
    assert lost and lost[0] <= 1000.0 + SAFE_SECONDS + 0.5
    assert world.now - lost[0] >= HEARTBEAT_SECONDS - 0.5


def test_a_beat_in_the_last_moment_saves_the_lock(world: World) -> None:
    other = world.lock(ELSEWHERE)
    other.acquire()
    began = world.now

    def beat_late() -> None:
        if world.now - began >= STALE_SECONDS:
            other.heartbeat()

    world.while_waiting = beat_late
    with pytest.raises(LockedElsewhere, match="login2"):
        world.lock().acquire()


def test_of_several_that_start_at_once_one_gets_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pipes = [stack.enter_context(started(race_for_lock, tmp_path / "matrix.db"))[1] for _ in range(4)]
        assert [receive(pipe) for pipe in pipes] == ["ready"] * 4
        for pipe in pipes:
            pipe.send("go")
        assert sorted(receive(pipe) for pipe in pipes) == ["got it", "refused", "refused", "refused"]
        assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
