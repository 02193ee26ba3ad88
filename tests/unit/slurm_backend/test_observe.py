"""From what a site says, or does not say, to a look; and to how far an end is. Nothing but a fresh answer to the very question says that
something is gone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_crds.cluster import MatrixCluster
from matrix_crds.reasons import ClusterReason
from matrix_crds.slurm_template import slurm_template_hash
from matrix_operator.backends.port import NodePhase, Observation, RemovalState
from matrix_operator.backends.slurm.desired import absent, present
from matrix_operator.backends.slurm.observe import STALE, look, refusal
from matrix_operator.backends.slurm.removal import removal
from matrix_operator.backends.slurm.sites import SiteReport, SiteSilence
from matrix_operator.looks import Absent, Look, Present, Unknown
from matrix_proto.bridge_pb2 import ClusterDesired, ClusterReport, Node, Refusal
from tests.fakes.sites import answer, node
from tests.unit.slurm_backend.builders import NAME, START, cluster

NOW = START + timedelta(minutes=5)
LAB = cluster()
WISH = present(LAB, 1, {})


def seen(found: SiteReport | SiteSilence, told: ClusterDesired | None = WISH, of: MatrixCluster = LAB) -> Look[Observation]:
    return look(of, NAME, told, found, NOW)


def said(presence: ClusterReport.Presence, wish: ClusterDesired = WISH, age: timedelta = timedelta(), **fields: Any) -> SiteReport:
    return SiteReport(NOW - age, answer(wish, presence, **fields))


def observed(found: Look[Observation]) -> Observation:
    assert isinstance(found, Present)
    return found.state


@pytest.mark.parametrize("told", [None, WISH])
def test_where_nobody_is_nothing_is_known(told: ClusterDesired | None) -> None:
    assert seen(SiteSilence("not connected since 12:00", listening=False), told) == Unknown("not connected since 12:00")


def test_a_cluster_that_no_site_was_asked_for_is_absent_where_one_listens() -> None:
    fresh = cluster(attempt=None)
    assert seen(SiteSilence("it has not reported of it"), None, fresh) == Absent()
    assert seen(SiteSilence("not connected", listening=False), None, fresh) == Unknown("not connected")


@pytest.mark.parametrize(("ray", "phase"), [(False, NodePhase.STARTING), (True, NodePhase.RECOVERING)])
def test_a_site_that_listens_has_to_be_told_first(ray: bool, phase: NodePhase) -> None:
    """Else a cluster would wait for ever for a word of a site that never heard of it."""
    found = observed(seen(SiteSilence("it has not reported of it"), None, cluster(ray=ray)))
    assert (found.head.phase, found.head.message, found.allocation.attempt) == (phase, "it has not reported of it", 1)


def test_once_it_is_told_silence_is_not_knowing() -> None:
    assert isinstance(seen(SiteSilence("it has not reported of it")), Unknown)


@pytest.mark.parametrize("presence", [ClusterReport.PRESENT, ClusterReport.ABSENT, ClusterReport.UNKNOWN])
def test_an_old_report_says_nothing(presence: ClusterReport.Presence) -> None:
    found = seen(said(presence, age=STALE + timedelta(seconds=1)))
    assert isinstance(found, Unknown)
    assert "site fair has reported nothing since 2026-06-01 12:04:29 UTC" in found.message
    assert "matrix bridge status" in found.message


def test_a_site_that_could_not_look_says_why() -> None:
    assert seen(said(ClusterReport.UNKNOWN, message="slurmctld does not answer")) == Unknown("site fair: slurmctld does not answer")
    assert isinstance(seen(said(ClusterReport.PRESENCE_UNSPECIFIED)), Unknown)


def test_absent_is_the_answer_to_what_it_was_told() -> None:
    assert seen(said(ClusterReport.ABSENT)) == Absent()
    assert seen(said(ClusterReport.ABSENT), None) == Absent()


@pytest.mark.parametrize(
    "former", [present(LAB, 0, {}), absent(LAB), present(cluster(generation=2), 1, {})], ids=["attempt", "phase", "generation"]
)
def test_absent_as_an_answer_to_something_else_is_something_on_its_way(former: ClusterDesired) -> None:
    found = observed(seen(said(ClusterReport.ABSENT, former)))
    assert (found.head.phase, found.head.message) == (NodePhase.STARTING, "site fair has been told of it")


def test_what_is_there_is_told_node_by_node() -> None:
    workers = [node("gpu-0", Node.STARTING, "waits: Priority"), node("gpu-1", Node.FAILED, reason="OutOfMemory"), node("gpu-2", 9)]
    report = said(ClusterReport.PRESENT, head=node("head"), workers=workers, template_hash="t")
    report.report.expires_at.FromDatetime(NOW)
    found = observed(seen(report))
    assert (found.head.name, found.head.phase, found.head.since, found.head.message) == ("head", NodePhase.RUNNING, START, "job 7")
    assert [(worker.phase, worker.reason) for worker in found.workers] == [
        (NodePhase.STARTING, None),
        (NodePhase.FAILED, ClusterReason.OUT_OF_MEMORY),
        (NodePhase.STARTING, None),
    ]
    assert found.workers[0].message == "waits: Priority"
    assert (found.allocation.expires_at, found.allocation.started_at, found.allocation.template_hash) == (NOW, None, "t")


def test_while_a_template_is_held_back_the_site_says_how_many_workers_are_wanted() -> None:
    """Those of a group that is not there yet can't come."""
    of = cluster({"workerGroups": [{"name": "gpu", "replicas": 2}, {"name": "new", "replicas": 4}]})
    for hashed, wanted in (("older", 2), (slurm_template_hash(of.spec), None), ("", None)):
        report = said(ClusterReport.PRESENT, head=node("head"), workers=[node("gpu-0"), node("gpu-1")], template_hash=hashed)
        assert observed(seen(report, of=of)).wanted_workers == wanted


def test_a_reason_of_a_later_bridge_is_left_out() -> None:
    found = observed(seen(said(ClusterReport.PRESENT, head=node("head", Node.FAILED, "why", reason="Melted"))))
    assert (found.head.phase, found.head.reason, found.head.message) == (NodePhase.FAILED, None, "why")


def test_a_cluster_whose_head_has_no_job_yet_starts() -> None:
    assert observed(seen(said(ClusterReport.PRESENT))).head.phase is NodePhase.STARTING


def test_the_jobs_of_a_former_attempt_are_not_the_cluster() -> None:
    of = cluster(attempt=2)
    found = observed(seen(said(ClusterReport.PRESENT, present(of, 1, {}), head=node("head")), present(of, 2, {}), of))
    assert (found.head.phase, found.allocation.attempt) == (NodePhase.RECOVERING, 1)
    assert "the jobs of attempt 1 are still there" in found.head.message


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("Unschedulable", ClusterReason.UNSCHEDULABLE), ("Melted", ClusterReason.INVALID_SPEC), ("", ClusterReason.INVALID_SPEC)],
)
def test_a_refusal_is_the_users_to_solve(reason: str, expected: ClusterReason) -> None:
    found = refusal(ClusterReport(refusal=Refusal(reason=reason, message="bad account")))
    assert found is not None
    assert (found.reason, found.message) == (expected, "bad account")
    assert refusal(ClusterReport()) is None


END = absent(LAB)


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (said(ClusterReport.ABSENT, END), RemovalState.GONE, ""),
        (said(ClusterReport.PRESENT, END, message="2 jobs end"), RemovalState.GOING, "2 jobs end"),
        (said(ClusterReport.UNKNOWN, END, message="squeue failed"), RemovalState.UNKNOWN, "squeue failed"),
        (said(ClusterReport.ABSENT, WISH), RemovalState.GOING, "is being told"),
        (said(ClusterReport.ABSENT, absent(cluster(generation=2))), RemovalState.GOING, "is being told"),
        (said(ClusterReport.ABSENT, absent(cluster(attempt=2))), RemovalState.GOING, "is being told"),
        (said(ClusterReport.ABSENT, END, age=STALE * 2), RemovalState.UNKNOWN, "has reported nothing since"),
        (SiteSilence("not connected", listening=False), RemovalState.UNKNOWN, "not connected"),
        (SiteSilence("it has not reported of it"), RemovalState.UNKNOWN, "it has not reported of it"),
    ],
)
def test_an_end_is_reached_only_when_the_site_confirms_it(found: SiteReport | SiteSilence, state: RemovalState, words: str) -> None:
    step = removal(LAB, END, found, NOW)
    assert step.state is state
    assert words in step.message


def test_what_no_site_was_ever_asked_for_can_be_deleted_without_one() -> None:
    fresh = cluster(attempt=None)
    assert removal(fresh, absent(fresh), SiteSilence("no such site", listening=False), NOW).state is RemovalState.GONE


@given(
    presence=st.sampled_from(ClusterReport.Presence.values()),
    generation=st.integers(2, 4),
    attempt=st.integers(0, 2),
    phase=st.sampled_from(ClusterDesired.Phase.values()),
    age=st.integers(0, 100),
)
def test_nothing_but_a_fresh_answer_to_the_question_says_that_it_is_gone(
    presence: ClusterReport.Presence, generation: int, attempt: int, phase: ClusterDesired.Phase, age: int
) -> None:
    report = ClusterReport(generation=generation, attempt=attempt, phase=phase, presence=presence)
    found = SiteReport(NOW - timedelta(seconds=age), report)
    confirmed = presence == ClusterReport.ABSENT and timedelta(seconds=age) <= STALE
    for wish in (WISH, END):
        meant = (generation, attempt, phase) == (wish.generation, wish.attempt, wish.phase)
        assert isinstance(seen(found, wish), Absent) == (confirmed and meant)
    is_end = (generation, attempt, phase) == (END.generation, END.attempt, END.phase)
    assert (removal(LAB, END, found, NOW).state is RemovalState.GONE) == (confirmed and is_end)
