"""One head: which of several gives way, whatever they see and when."""

from __future__ import annotations

import itertools
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from matrix_slurm_bridge.node.errors import NodeFailure, Superseded
from matrix_slurm_bridge.node.plan import NodePlan
from matrix_slurm_bridge.node.record import FILE, HeadPorts, HeadRecord
from matrix_slurm_bridge.node.seat import PATIENCE_SECONDS, Seat, read_record, stands_by
from tests.unit.slurm_node.builders import UID, plan, record, written


def seat(of: NodePlan, host: str = "n1") -> Seat:
    return Seat(of, record(of, host), sleep=lambda _: None)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """As the agent leaves it before the first job."""
    written(tmp_path, HeadRecord(uid=UID))
    return tmp_path


def test_the_first_head_takes_it_and_says_when_it_is_up(fresh: Path) -> None:
    first = seat(plan(fresh))
    first.take()
    assert read_record(fresh) == first.own and not first.own.up
    first.is_up()
    found = read_record(fresh)
    assert found is not None and found.up and (fresh / FILE).stat().st_mode & 0o777 == 0o600


LATER = [{"attempt": 2}, {"serial": 2}, {"restart": 1}, {"attempt": 2, "serial": 1, "restart": 0}]


@pytest.mark.parametrize("later", LATER)
def test_a_later_head_ends_the_earlier_one(fresh: Path, later: dict[str, int]) -> None:
    first, second = seat(plan(fresh)), seat(plan(fresh, job_id="8", **later), "n2")
    first.take()
    second.take()
    with pytest.raises(Superseded, match="job 8 n2"):
        first.hold()
    second.hold()


@pytest.mark.parametrize("later", LATER)
def test_an_earlier_head_that_starts_late_does_not_begin(fresh: Path, later: dict[str, int]) -> None:
    second = seat(plan(fresh, job_id="8", **later), "n2")
    second.take()
    with pytest.raises(Superseded):
        seat(plan(fresh)).take()
    assert read_record(fresh) == second.own


def test_the_record_that_the_agent_writes_for_a_head_to_come_ends_the_one_that_runs(fresh: Path) -> None:
    first = seat(plan(fresh))
    first.take()
    written(fresh, HeadRecord(uid=UID, attempt=1, serial=2))
    with pytest.raises(Superseded, match="not started yet"):
        first.hold()


def test_one_that_stands_by_writes_nothing_until_it_is_its_turn(fresh: Path) -> None:
    first, heir = seat(plan(fresh)), seat(plan(fresh, serial=2, job_id="8"), "n2")
    first.take()
    first.is_up()
    heir.waits = True
    heir.move(HeadPorts(gcs=1, dashboard=2, state=3, directory=4, gateway=5))
    heir.hold()
    assert read_record(fresh) == first.own
    heir.is_up()
    found = read_record(fresh)
    assert found == heir.own and found.up and found.ports is not None
    with pytest.raises(Superseded):
        first.hold()


def test_one_that_stands_by_gives_way_to_a_later_one(fresh: Path) -> None:
    heir = seat(plan(fresh, serial=2))
    heir.waits = True
    seat(plan(fresh, serial=3, job_id="9"), "n3").take()
    with pytest.raises(Superseded):
        heir.hold()


def test_a_head_stands_by_as_long_as_the_agents_file_is_there_or_can_not_be_read(fresh: Path) -> None:
    one = plan(fresh)
    file = one.directory.standby_file(one.tag)
    file.parent.mkdir()
    assert not stands_by(one)
    file.touch()
    assert stands_by(one)
    file.unlink()
    file.mkdir()
    assert stands_by(one), "reading it fails"


def test_the_same_job_started_twice_makes_one_head(fresh: Path) -> None:
    """A slurmctld that lost its last seconds starts it again, with the same number."""
    first, again = seat(plan(fresh)), seat(plan(fresh), "n2")
    first.take()
    with pytest.raises(Superseded, match="on n1"):
        again.take()
    first.hold()


def test_a_head_that_was_overwritten_by_an_earlier_one_writes_itself_again(fresh: Path) -> None:
    first, second = seat(plan(fresh)), seat(plan(fresh, serial=2), "n2")
    second.take()
    written(fresh, first.own)  # it had read before the other wrote
    second.hold()
    assert read_record(fresh) == second.own
    with pytest.raises(Superseded):
        first.hold()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_three_that_write_in_any_order_the_latest_is_left(fresh: Path, order: tuple[int, ...]) -> None:
    seats = [seat(plan(fresh, serial=number + 1, job_id=str(number)), f"n{number}") for number in range(3)]
    for number in order:
        written(fresh, seats[number].own)  # all had looked before any of them wrote
    left = []
    for one in [*seats, *seats]:
        try:
            one.hold()
            left.append(one)
        except Superseded:
            continue
    assert left[-1] is seats[2] and read_record(fresh) == seats[2].own


@pytest.mark.parametrize("text", ["", "{", '{"uid": "1111', "[]", '{"attempt": 1}'])
def test_half_a_record_says_nothing_and_one_that_stays_so_is_written_again(fresh: Path, text: str) -> None:
    first = seat(plan(fresh))
    first.take()
    (fresh / FILE).write_text(text)
    first.hold()
    assert read_record(fresh) is None
    first.hold()
    assert read_record(fresh) == first.own


def test_a_record_that_is_gone_says_nothing_and_one_that_stays_away_is_written_again(fresh: Path) -> None:
    first = seat(plan(fresh))
    first.take()
    (fresh / FILE).unlink()
    first.hold()
    assert not (fresh / FILE).exists()
    first.hold()
    assert read_record(fresh) == first.own


def test_a_damaged_record_is_left_to_the_later_head(fresh: Path) -> None:
    first, second = seat(plan(fresh)), seat(plan(fresh, serial=2), "n2")
    second.take()
    (fresh / FILE).write_text("{")
    first.hold()
    first.hold()
    second.hold()
    assert read_record(fresh) == second.own
    with pytest.raises(Superseded):
        first.hold()


def test_another_clusters_directory_is_not_taken(tmp_path: Path) -> None:
    written(tmp_path, HeadRecord(uid="someone-else"))
    with pytest.raises(NodeFailure, match="another cluster"):
        seat(plan(tmp_path)).take()


def test_a_directory_that_takes_no_file_is_waited_for_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, PATIENCE_SECONDS / 4)
    monkeypatch.setattr("matrix_slurm_bridge.node.seat.time", SimpleNamespace(monotonic=lambda: next(clock)))  # not other threads' time
    slept: list[float] = []
    one = Seat(plan(tmp_path / "gone"), record(plan(tmp_path / "gone")), sleep=slept.append)
    with pytest.raises(NodeFailure, match=f"can't be written to: {os.strerror(2)}"):
        one.take()
    assert len(slept) >= 2


def test_of_two_of_the_same_fence_the_one_that_wrote_first_gives_way(fresh: Path) -> None:
    first = seat(plan(fresh))
    first.take()
    other = first.own.model_copy(update={"started_at": first.own.started_at and first.own.started_at + timedelta(seconds=1)})
    written(fresh, other)
    with pytest.raises(Superseded, match="this very job"):
        first.hold()
