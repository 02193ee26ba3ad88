"""Decisions and observations, as tables over what a look can show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_crds.reasons import ClusterReason
from matrix_operator.backends.local.decide import EndEverything, EndWorker, Launch, Refuse, Remember, Restart, decide
from matrix_operator.backends.local.journal import (
    ClusterRecord,
    LaunchFailure,
    LaunchPlan,
    LaunchState,
    NodePlan,
    NodeTemplate,
    PartRecord,
    Ports,
    Template,
)
from matrix_operator.backends.local.observe import observation
from matrix_operator.backends.local.view import View
from matrix_operator.backends.port import NodePhase
from matrix_operator.looks import Absent, Present

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
NODE = NodeTemplate(cpus=1, memory=1)
CLUSTER = ClusterRecord(
    uid="u",
    name="c",
    home="/state",
    directory="/tmp/mx-1",
    ports=Ports(gcs=1, dashboard=2, state=3, directory=4, gateway=5),
    template=Template(ray_version="2.60.0", head=NODE),
    template_hash="h",
    attempt=1,
    started_at=EARLIER,
    environment={},
)
HEAD = ("gcs", "dashboard", "raylet")


def part(name: str, **fields: Any) -> PartRecord:
    return PartRecord(part=name, argv=("x",), **{"started_at": EARLIER, **fields})


def plan(*nodes: str, attempt: int = 1, written_at: datetime = EARLIER) -> LaunchPlan:
    planned = tuple(NodePlan(name=node, template=NODE, object_store_memory=1) for node in nodes)
    return LaunchPlan(cluster=CLUSTER, nodes=planned, attempt=attempt, written_at=written_at)


def launch(node: str = "head", doing: str = "done", written_at: datetime = EARLIER, **fields: Any) -> LaunchState:
    return LaunchState(written_at=written_at, node=node, doing=doing, since=EARLIER, **fields)


def view(parts: tuple[str, ...] = HEAD, dead: tuple[str, ...] = (), **fields: Any) -> View:
    """Parts that were started, of which some are dead; by default the launcher finished long ago."""
    alive = frozenset(parts) - set(dead)
    base = View(
        cluster=CLUSTER,
        plan=plan("head"),
        launch=launch(finished=True),
        parts={name: part(name) for name in parts},
        alive=alive,
        marked=alive,
    )
    return replace(base, **fields)


FAILED = LaunchFailure(node="head", message="no space")


def test_a_cluster_that_runs_is_left_alone() -> None:
    assert decide(view((*HEAD, "w-0")), ["head", "w-0"], NOW) == []


def test_nothing_there_is_launched_whole() -> None:
    assert decide(View(cluster=CLUSTER, session_lost=True), ["head", "w-0"], NOW) == [Launch(("head", "w-0"), 1)]


def test_hands_off_while_the_launcher_starts_the_head() -> None:
    busy = view(("gcs",), launch=launch(doing="starting the GCS"), alive=frozenset({"gcs", "launcher"}), session_lost=True)
    assert decide(busy, ["head", "w-0"], NOW) == []


def test_what_a_killed_launcher_left_half_done_is_ended_then_launched_at_once() -> None:
    half = view(("gcs",), plan=plan("head", written_at=NOW), launch=launch(doing="starting the dashboard", written_at=NOW))
    assert decide(half, ["head"], NOW) == [EndEverything()]
    ended = replace(half, alive=frozenset(), marked=frozenset())
    assert decide(ended, ["head"], NOW) == [Launch(("head",), 2)]


def test_a_launcher_that_is_killed_again_waits_and_says_where_it_was() -> None:
    state = launch(doing="starting the dashboard", written_at=NOW)
    again = view((), plan=plan("head", attempt=2, written_at=NOW), launch=state)
    (refusal,) = decide(again, ["head"], NOW)
    assert isinstance(refusal, Refuse) and "the launcher was ended while starting the dashboard" in refusal.message


def test_what_a_killed_launcher_had_started_whole_is_adopted() -> None:
    assert decide(view(launch=launch(doing="waiting for the raylet to register with the GCS")), ["head"], NOW) == []


def test_a_failed_launch_is_told_in_words_and_tried_again_ever_more_slowly() -> None:
    for attempt, wait in ((1, 2), (2, 4), (6, 60), (50, 60)):
        failed = view((), plan=plan("head", attempt=attempt), launch=launch(failure=FAILED))
        (refusal,) = decide(failed, ["head"], EARLIER + timedelta(seconds=wait - 0.1))
        assert isinstance(refusal, Refuse) and refusal.reason is ClusterReason.START_FAILED and "no space" in refusal.message
        assert decide(failed, ["head"], EARLIER + timedelta(seconds=wait)) == [Launch(("head",), attempt + 1)]


def test_a_launch_state_of_an_earlier_plan_says_nothing_about_this_one() -> None:
    stale = view((), plan=plan("head", attempt=3, written_at=NOW), launch=launch(finished=True))
    (refusal,) = decide(stale, ["head"], NOW)
    assert isinstance(refusal, Refuse) and "before it could say anything" in refusal.message


def test_lost_directories_mean_all_anew() -> None:
    assert decide(view(session_lost=True), ["head"], NOW) == [EndEverything()]


@pytest.mark.parametrize("dead", HEAD)
def test_a_dead_part_is_started_again_and_only_that(dead: str) -> None:
    (step,) = decide(view(dead=(dead,)), ["head"], NOW)
    assert isinstance(step, Restart) and step.record.part == dead and step.record.died_at == NOW


def test_a_part_that_ends_soon_after_its_start_waits_and_after_three_times_says_why() -> None:
    quick = {**view().parts, "gcs": part("gcs", started_at=NOW, quick_deaths=1)}
    (waits,) = decide(replace(view(dead=("gcs",)), parts=quick), ["head"], NOW + timedelta(seconds=1))
    assert isinstance(waits, Remember) and waits.record.quick_deaths == 2
    remembered = {**quick, "gcs": waits.record}
    assert isinstance(decide(replace(view(dead=("gcs",)), parts=remembered), ["head"], NOW + timedelta(seconds=3))[0], Restart)
    hopeless = {**quick, "gcs": part("gcs", quick_deaths=3, died_at=NOW)}
    _, refusal = decide(replace(view(dead=("gcs",)), parts=hopeless), ["head"], NOW)
    assert isinstance(refusal, Refuse) and "the GCS ended 3 times soon after its start" in refusal.message


def test_missing_workers_are_launched_together_when_the_head_is_there() -> None:
    assert decide(view(), ["head", "w-0", "w-1"], NOW) == [Launch(("w-0", "w-1"), 1)]
    assert [type(step) for step in decide(view(dead=("gcs",)), ["head", "w-0"], NOW)] == [Restart]


def test_one_launcher_at_a_time() -> None:
    busy = view(plan=plan("w-0"), launch=launch("w-0"), alive=frozenset({*HEAD, "launcher"}))
    assert decide(busy, ["head", "w-0", "w-1"], NOW) == []


def test_the_head_is_looked_after_while_the_launcher_is_at_a_worker() -> None:
    busy = view(plan=plan("head", "w-0"), launch=launch("w-0"), alive=frozenset({"raylet", "dashboard", "launcher"}))
    assert [type(step) for step in decide(busy, ["head", "w-0"], NOW)] == [Restart]


def test_a_worker_whose_start_failed_does_not_disturb_the_head() -> None:
    failed = view((*HEAD, "w-0"), dead=("w-0",), plan=plan("w-0"), launch=launch("w-0", failure=LaunchFailure(node="w-0", message="m")))
    assert decide(failed, ["head", "w-0"], NOW) == [Launch(("w-0",), 2)]
    left = replace(failed, marked=failed.marked | {"w-0"})
    assert decide(left, ["head", "w-0"], NOW) == [EndWorker("w-0"), Launch(("w-0",), 2)]


def test_a_dead_worker_is_started_again_alone() -> None:
    (step,) = decide(view((*HEAD, "w-0", "w-1"), dead=("w-1",)), ["head", "w-0", "w-1"], NOW)
    assert isinstance(step, Restart) and step.record.part == "w-1"


def test_surplus_workers_are_ended_last_index_first() -> None:
    parts = (*HEAD, "a-0", "a-1", "a-2", "a-10", "b-0")
    steps = decide(view(parts), ["head", "a-0"], NOW)
    assert [step.name for step in steps if isinstance(step, EndWorker)] == ["a-10", "a-2", "a-1", "b-0"]


@given(
    st.sets(st.sampled_from([*HEAD, "w-0", "w-1"])),
    st.sets(st.sampled_from([*HEAD, "w-0", "w-1", "launcher"])),
    st.booleans(),
    st.booleans(),
)
def test_a_living_part_is_never_started_again_and_nothing_is_launched_beside_a_launcher(
    parts: set[str], alive: set[str], lost: bool, failed: bool
) -> None:
    parts |= alive - {"launcher"}  # a living part's record is rebuilt
    state = launch(failure=FAILED) if failed else launch(finished=True)
    seen = view(tuple(parts), launch=state, alive=frozenset(alive), marked=frozenset(alive), session_lost=lost)
    steps = decide(seen, ["head", "w-0"], NOW)
    assert not [step for step in steps if isinstance(step, Restart) and step.record.part in alive]
    launches = [step for step in steps if isinstance(step, Launch)]
    assert len(launches) <= (0 if "launcher" in alive else 1)
    assert not [step for step in launches if "head" in step.nodes and alive]


def head_of(seen: View, suspended: bool = False) -> Any:
    look = observation(seen, "c", ["head"], suspended, NOW)
    assert isinstance(look, Present)
    return look.state.head


def test_nothing_recorded_and_nothing_running_is_absent() -> None:
    assert isinstance(observation(View(), "c", [], False, NOW), Absent)


def test_a_lost_journal_with_living_processes_is_not_absent() -> None:
    head = head_of(View(marked=frozenset({"gcs"})))
    assert head.phase is NodePhase.RECOVERING and "records were lost" in head.message


STARTING = view(("gcs",), launch=launch(doing="starting the GCS"), alive=frozenset({"gcs", "launcher"}))


@pytest.mark.parametrize(
    ("seen", "phase", "reason", "words"),
    [
        (view(), NodePhase.RUNNING, None, ""),
        (STARTING, NodePhase.STARTING, None, "starting the GCS"),
        (replace(STARTING, launch=None), NodePhase.STARTING, None, "the launcher is being started"),
        (view((), plan=None, launch=None), NodePhase.STARTING, None, "about to be started"),
        (view(dead=("gcs",)), NodePhase.RECOVERING, ClusterReason.RECOVERING, "the GCS ended and is being started again"),
        (view(dead=("gcs", "raylet")), NodePhase.RECOVERING, ClusterReason.RECOVERING, "the GCS and the raylet ended"),
        (view((), launch=launch(failure=FAILED)), NodePhase.FAILED, ClusterReason.START_FAILED, "no space; it is tried again"),
        (
            replace(view(dead=("gcs",)), parts={**view().parts, "gcs": part("gcs", quick_deaths=3, died_at=NOW)}),
            NodePhase.FAILED,
            ClusterReason.START_FAILED,
            "the GCS ended 3 times",
        ),
    ],
)
def test_the_heads_phase_and_words(seen: View, phase: NodePhase, reason: ClusterReason | None, words: str) -> None:
    head = head_of(seen)
    assert (head.phase, head.reason) == (phase, reason) and words in head.message


def test_a_suspended_cluster_says_so_and_how_to_start_it() -> None:
    head = head_of(view((), plan=None, launch=None), suspended=True)
    assert head.reason is ClusterReason.SUSPENDED and "spec.suspend to false" in head.message


def test_the_head_runs_while_the_launcher_is_at_a_worker() -> None:
    seen = view(plan=plan("head", "w-0", "w-1"), launch=launch("w-0", doing="starting its raylet"), alive=frozenset({*HEAD, "launcher"}))
    look = observation(seen, "c", ["head", "w-0", "w-1"], False, NOW)
    assert isinstance(look, Present)
    assert look.state.head.phase is NodePhase.RUNNING
    assert [worker.message for worker in look.state.workers] == ["starting its raylet", "waits for w-0: starting its raylet"]
    assert look.state.allocation.template_hash == "h" and look.state.allocation.attempt == 1
