from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_proto.state import FailureReason, Gateway, Load, Replica, ReplicaState, StartFailure
from matrix_runtime.system.directory import FORGET_FAILURE_SECONDS, KEPT_FAILURES, LATE_SECONDS, Directory

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def replica(id: str = "a", state: ReplicaState = ReplicaState.READY, attempt: int = 1, at: float = 0, **more: object) -> Replica:
    values = {"id": id, "application": "mx-md-m", "model": "m", "state": state, "attempt": attempt, "pid": 1} | more
    return Replica.model_validate(values | {"since": START + timedelta(seconds=at)})


def failed(id: str, attempt: int = 1, at: float = 0) -> Replica:
    failure = StartFailure(reason=FailureReason.BAD_ARGUMENTS, message="no")
    return replica(id, ReplicaState.FAILED, attempt, at, failure=failure)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(clock: Clock) -> Directory:
    return Directory(clock)


def ids(directory: Directory) -> list[str]:
    return [view.id for view in directory.view()]


def pass_time(directory: Directory, clock: Clock, seconds: float) -> None:
    """As the sweeper does: in steps of half a second."""
    for _ in range(int(seconds * 2)):
        clock.now += 0.5
        directory.sweep()


def test_revision_rises_when_a_replica_comes_or_changes_and_not_by_heartbeats_or_load(directory: Directory) -> None:
    directory.report(replica())
    came = directory.revision
    directory.report(replica())
    directory.report(replica(load=Load(ongoing=7)))
    assert directory.revision == came
    assert directory.view()[0].load.ongoing == 7
    directory.report(replica(state=ReplicaState.DRAINING))
    assert directory.revision > came


def test_three_missed_heartbeats_make_a_replica_suspect_and_its_voice_clears_it(directory: Directory, clock: Clock) -> None:
    directory.report(replica())
    pass_time(directory, clock, 3)
    assert not directory.view()[0].suspect
    before = directory.revision
    pass_time(directory, clock, 0.5)
    assert directory.view()[0].suspect
    assert directory.view()[0].heartbeat_age == 3.5
    assert directory.revision == before + 1
    directory.report(replica())
    assert not directory.view()[0].suspect
    assert directory.revision == before + 2


def test_a_replica_is_forgotten_after_thirty_seconds_of_silence_and_not_sooner(directory: Directory, clock: Clock) -> None:
    directory.report(replica())
    pass_time(directory, clock, 30)
    assert ids(directory) == ["a"]
    before = directory.revision
    pass_time(directory, clock, 0.5)
    assert ids(directory) == []
    assert directory.revision == before + 1


def test_silence_while_the_directory_itself_stood_still_is_not_held_against_a_replica(directory: Directory, clock: Clock) -> None:
    directory.report(replica())
    clock.now += 600
    directory.sweep()
    assert not directory.view()[0].suspect


def test_a_failed_start_is_kept_without_heartbeats_and_never_suspect(directory: Directory, clock: Clock) -> None:
    directory.report(failed("a"))
    pass_time(directory, clock, 120)
    view = directory.view()[0]
    assert view.failure is not None and view.failure.reason is FailureReason.BAD_ARGUMENTS
    assert not view.suspect


def test_failed_is_a_replicas_last_word(directory: Directory) -> None:
    directory.report(failed("a"))
    directory.report(replica("a", ReplicaState.STARTING))
    assert directory.view()[0].state is ReplicaState.FAILED


def test_only_the_last_failures_of_an_application_are_kept(directory: Directory) -> None:
    for number in range(KEPT_FAILURES + 2):
        directory.report(failed(f"r{number}", at=number))
    directory.report(failed("other").model_copy(update={"application": "mx-md-other"}))
    assert ids(directory) == ["r2", "r3", "r4", "other"]


def test_a_failure_of_a_deployment_that_was_made_anew_is_kept_though_its_attempts_begin_at_one(directory: Directory) -> None:
    for number in range(KEPT_FAILURES):
        directory.report(failed(f"former{number}", attempt=2, at=number))
    directory.report(failed("now", attempt=1, at=100))
    assert "now" in ids(directory) and len(ids(directory)) == KEPT_FAILURES


def test_failures_of_what_is_gone_are_forgotten_after_an_hour(directory: Directory, clock: Clock) -> None:
    directory.report(failed("a"))
    pass_time(directory, clock, FORGET_FAILURE_SECONDS - 1)
    assert ids(directory) == ["a"] and not directory.view()[0].suspect
    told = directory.revision
    pass_time(directory, clock, 2)
    assert ids(directory) == [] and directory.revision > told


def test_a_newer_attempt_drops_older_failures(directory: Directory) -> None:
    directory.report(failed("a", attempt=1))
    directory.report(replica("b", ReplicaState.STARTING, attempt=1))
    assert ids(directory) == ["a", "b"]
    directory.report(replica("c", ReplicaState.STARTING, attempt=2))
    assert ids(directory) == ["b", "c"]


def test_a_success_after_a_failure_drops_it_and_a_success_before_it_does_not(directory: Directory) -> None:
    directory.report(failed("a", at=10))
    directory.report(replica("old", at=5))
    assert "a" in ids(directory)
    directory.report(replica("new", at=15))
    assert "a" not in ids(directory)


def test_draining_is_seen(directory: Directory) -> None:
    directory.report(replica())
    directory.report(replica(state=ReplicaState.DRAINING))
    assert directory.view()[0].state is ReplicaState.DRAINING


def test_one_that_drains_and_falls_silent_has_ended_and_is_forgotten(directory: Directory, clock: Clock) -> None:
    directory.report(replica(state=ReplicaState.DRAINING))
    pass_time(directory, clock, 3)
    assert ids(directory) == ["a"]
    before = directory.revision
    pass_time(directory, clock, 0.5)
    assert ids(directory) == [] and directory.revision == before + 1


def test_a_late_replica_whose_port_is_closed_is_suspect_before_its_third_missed_report(directory: Directory, clock: Clock) -> None:
    serving = replica(http_url="http://127.0.0.1:1")
    directory.report(serving)
    directory.report(replica("starting", ReplicaState.STARTING))
    directory.refused(serving)
    assert directory.late() == () and not directory.view()[0].suspect, "a report was not due yet"
    clock.now += LATE_SECONDS + 0.1
    assert directory.late() == (serving,)
    before = directory.revision
    directory.refused(serving)
    directory.refused(serving)
    assert directory.view()[0].suspect and directory.revision == before + 1
    assert directory.late() == ()
    directory.report(serving)
    assert not directory.view()[0].suspect


def test_a_draining_replica_whose_port_is_closed_has_ended(directory: Directory, clock: Clock) -> None:
    leaving = replica(state=ReplicaState.DRAINING, http_url="http://127.0.0.1:1")
    directory.report(leaving)
    clock.now += LATE_SECONDS + 0.1
    directory.refused(leaving)
    assert ids(directory) == []


def test_one_that_reported_while_its_port_was_asked_is_not_suspect(directory: Directory, clock: Clock) -> None:
    serving = replica(http_url="http://127.0.0.1:1")
    directory.report(serving)
    clock.now += LATE_SECONDS + 0.1
    directory.report(serving)
    directory.refused(serving)
    assert not directory.view()[0].suspect


READY_GATEWAY = Gateway(ready=True, url="http://127.0.0.1:9002", pid=7)


def test_the_gateway_is_unknown_until_it_reports_and_its_heartbeats_change_nothing(directory: Directory, clock: Clock) -> None:
    assert directory.gateway() is None
    before = directory.revision
    directory.report_gateway(READY_GATEWAY)
    assert directory.revision == before + 1
    clock.now += 1
    view = directory.gateway()
    assert view is not None and view.ready and view.heartbeat_age == 1.0
    directory.report_gateway(READY_GATEWAY)
    assert directory.revision == before + 1
    directory.report_gateway(READY_GATEWAY.model_copy(update={"ready": False, "message": "HAProxy is started again"}))
    assert directory.revision == before + 2


def test_a_silent_gateway_is_not_ready_and_never_gone(directory: Directory, clock: Clock) -> None:
    directory.report_gateway(READY_GATEWAY)
    pass_time(directory, clock, 3)
    assert (view := directory.gateway()) is not None and view.ready
    before = directory.revision
    pass_time(directory, clock, 600)
    view = directory.gateway()
    assert view is not None and not view.ready and view.url == READY_GATEWAY.url
    assert "has not reported for more than 3 s" in view.message
    assert directory.revision == before + 1
    directory.report_gateway(READY_GATEWAY)
    assert (view := directory.gateway()) is not None and view.ready and view.message == ""
    assert directory.revision == before + 2


def test_the_gateways_silence_while_the_directory_stood_still_is_its_own(directory: Directory, clock: Clock) -> None:
    directory.report_gateway(READY_GATEWAY)
    clock.now += 600
    directory.sweep()
    assert (view := directory.gateway()) is not None and view.ready


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(ReplicaState)), st.integers(1, 3), st.floats(0, 40))))
def test_revision_never_falls_and_rises_with_every_visible_difference(steps: list[tuple[str, ReplicaState, int, float]]) -> None:
    clock = Clock()
    directory = Directory(clock)

    def seen() -> list[dict[str, object]]:
        return [view.model_dump(exclude={"heartbeat_age", "load"}) for view in directory.view()]

    for id_, state, attempt, pause in steps:
        for act in (lambda: directory.report(replica(id_, state, attempt)), lambda: pass_time(directory, clock, pause)):  # noqa: B023
            before, revision = seen(), directory.revision
            act()
            assert directory.revision >= revision
            assert (seen() != before) <= (directory.revision > revision)
