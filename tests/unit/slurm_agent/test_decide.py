"""Decisions, as tables over what a look can show."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.agent.decide import Cancel, Hold, Remove, Submit, decide, due_at, wanted_slots
from matrix_slurm_bridge.agent.model import Phase
from matrix_slurm_bridge.slurm.port import JobPhase
from tests.unit.slurm_agent.samples import EARLIER, NOW, cluster, entry, job, spec, tag, view

ENDED, WAITING, RUNNING, ENDING, LOST = (
    JobPhase.ENDED,
    JobPhase.WAITING,
    JobPhase.RUNNING,
    JobPhase.ENDING,
    JobPhase.LOST,
)


def submitted(steps: list[object]) -> list[object]:
    return [step.tag for step in steps if isinstance(step, Submit)]


def cancelled(steps: list[object]) -> list[object]:
    return [step.job.tag for step in steps if isinstance(step, Cancel)]


def test_a_first_look_submits_the_head_and_every_worker() -> None:
    steps = decide(view(wanted=cluster(gpu=2)))
    assert submitted(steps) == [tag(), tag("gpu", 0), tag("gpu", 1)]


def test_what_is_there_is_left_alone() -> None:
    assert decide(view(job(tag()), job(tag("gpu")), wanted=cluster(gpu=1))) == []


def test_a_failed_look_does_nothing_at_all() -> None:
    for phase in Phase:
        assert decide(view(wanted=cluster(phase, gpu=2), jobs=None)) == []


@pytest.mark.parametrize("phase", [ENDED, LOST])
def test_a_lost_head_is_replaced_while_its_workers_keep_their_jobs(phase: JobPhase) -> None:
    steps = decide(view(job(tag(), phase), job(tag("gpu")), wanted=cluster(gpu=1)))
    assert steps == [Submit(tag(serial=2), "there is no head")]


def test_no_second_head_while_the_first_may_live() -> None:
    for phase in (WAITING, RUNNING, ENDING):
        assert decide(view(job(tag(), phase))) == []
    missing = entry(tag(), missing_since=NOW - timedelta(seconds=5))
    assert decide(view(entries=(missing,))) == []


def test_a_head_that_is_ending_for_long_is_replaced_since_the_fence_keeps_it_away() -> None:
    ending = job(tag(), ENDING, ended_at=NOW - timedelta(seconds=120))
    assert submitted(decide(view(ending))) == [tag(serial=2)]


def test_the_serial_goes_on_from_whatever_is_the_highest() -> None:
    over = job(tag(serial=3), ENDED)
    assert submitted(decide(view(over, record_serial=7))) == [tag(serial=8)]


def test_of_two_heads_the_one_that_waits_goes() -> None:
    assert cancelled(decide(view(job(tag()), job(tag(serial=2), WAITING)))) == [tag(serial=2)]
    assert cancelled(decide(view(job(tag(), WAITING), job(tag(serial=2))))) == [tag()]
    assert cancelled(decide(view(job(tag()), job(tag(serial=2))))) == [tag()]


def test_a_lost_worker_is_replaced() -> None:
    steps = decide(view(job(tag()), job(tag("gpu", 0)), job(tag("gpu", 1), LOST), wanted=cluster(gpu=2)))
    assert submitted(steps) == [tag("gpu", 1, serial=2)] and not cancelled(steps)


def test_scaling_down_ends_the_last_ones_and_what_is_ending_is_not_asked_twice() -> None:
    jobs = (job(tag()), job(tag("gpu", 0)), job(tag("gpu", 1)), job(tag("gpu", 2), ENDING))
    assert cancelled(decide(view(*jobs, wanted=cluster(gpu=1)))) == [tag("gpu", 1)]


def test_a_group_that_the_template_does_not_have_waits_for_the_next_attempt() -> None:
    held = replace(cluster(gpu=1), spec=spec(gpu=1, more=4))
    assert wanted_slots(held) == [("head", 0), ("gpu", 0)]


def test_a_higher_attempt_makes_all_anew_once_the_former_jobs_are_out_of_the_queue() -> None:
    steps = decide(view(job(tag()), job(tag("gpu")), wanted=cluster(attempt=2, gpu=1)))
    assert cancelled(steps) == [tag(), tag("gpu")] and not submitted(steps)
    assert decide(view(job(tag(), ENDING), wanted=cluster(attempt=2, gpu=1))) == []
    after = decide(view(job(tag(), ENDED), wanted=cluster(attempt=2, gpu=1)))
    assert submitted(after) == [tag(attempt=2), tag("gpu", attempt=2)]


def test_jobs_of_a_later_attempt_than_asked_for_are_not_touched() -> None:
    (hold,) = decide(view(job(tag(attempt=3)), wanted=cluster(attempt=2)))
    assert isinstance(hold, Hold) and hold.reason is ClusterReason.NAME_TAKEN and "attempt 3" in hold.message


def test_deleting_cancels_everything_waits_and_then_removes_the_directory() -> None:
    gone = cluster(Phase.DELETE, gpu=1)
    steps = decide(view(job(tag()), job(tag("gpu")), job(tag(attempt=9)), wanted=gone))
    assert cancelled(steps) == [tag(), tag("gpu"), tag(attempt=9)]
    assert decide(view(job(tag(), ENDING), wanted=gone)) == []
    assert decide(view(wanted=gone, entries=(entry(tag(), missing_since=NOW),))) == []
    assert decide(view(job(tag(), ENDED), wanted=gone)) == [Remove()]
    assert decide(view(wanted=gone)) == [Remove()]


def test_jobs_that_end_at_once_are_submitted_ever_more_slowly() -> None:
    for count, wait in ((1, 2), (2, 4), (5, 32), (9, 60)):
        over = tuple(entry(tag(serial=serial), ended_at=EARLIER, ran_seconds=1.0) for serial in range(1, count + 1))
        due = EARLIER + timedelta(seconds=wait)
        assert due_at(over) == due
        assert decide(view(entries=over, now=due - timedelta(seconds=0.1))) == []
        assert submitted(decide(view(entries=over, now=due))) == [tag(serial=count + 1)]


def test_one_that_ran_for_long_or_that_we_ended_ourselves_is_replaced_at_once() -> None:
    assert submitted(decide(view(entries=(entry(tag(), ended_at=NOW, ran_seconds=600.0),))))
    assert submitted(decide(view(entries=(entry(tag(), ended_at=NOW, cancelled=True),))))


ENDS_SOON = {"started_at": NOW - timedelta(hours=5), "ends_at": NOW + timedelta(minutes=5)}


def test_a_worker_whose_time_ends_gets_a_successor_one_at_a_time() -> None:
    jobs = (job(tag()), job(tag("gpu", 0), **ENDS_SOON), job(tag("gpu", 1), **ENDS_SOON))
    assert submitted(decide(view(*jobs, wanted=cluster(gpu=2)))) == [tag("gpu", 0, serial=2)]
    under_way = (*jobs, job(tag("gpu", 0, serial=2), WAITING))
    assert decide(view(*under_way, wanted=cluster(gpu=2))) == []


def test_the_predecessor_stays_until_the_successor_has_joined() -> None:
    jobs = (job(tag()), job(tag("gpu", 0), **ENDS_SOON), job(tag("gpu", 0, serial=2)))
    assert decide(view(*jobs, wanted=cluster(gpu=1), joined=frozenset({tag("gpu", 0)}))) == []
    joined = frozenset({tag("gpu", 0), tag("gpu", 0, serial=2)})
    assert cancelled(decide(view(*jobs, wanted=cluster(gpu=1), joined=joined))) == [tag("gpu", 0)]


def test_a_short_job_gets_its_successor_in_its_last_quarter() -> None:
    young = {"started_at": NOW - timedelta(minutes=6), "ends_at": NOW + timedelta(minutes=4)}
    assert decide(view(job(tag()), job(tag("gpu"), **young), wanted=cluster(gpu=1))) == []
    old = {"started_at": NOW - timedelta(minutes=8), "ends_at": NOW + timedelta(minutes=2)}
    assert submitted(decide(view(job(tag()), job(tag("gpu"), **old), wanted=cluster(gpu=1))))


def test_a_worker_that_appears_twice_keeps_the_one_that_runs() -> None:
    jobs = (job(tag()), job(tag("gpu"), WAITING), job(tag("gpu", serial=2)))
    assert cancelled(decide(view(*jobs, wanted=cluster(gpu=1)))) == [tag("gpu")]


def test_over_the_limit_of_the_site_what_fits_is_submitted_and_the_rest_is_told() -> None:
    steps = decide(view(wanted=cluster(gpu=3), room=2, limit="the site's file allows 2 jobs (maxJobs)"))
    assert submitted(steps) == [tag(), tag("gpu", 0)]
    assert steps[-1] == Hold(ClusterReason.INSUFFICIENT_RESOURCES, "2 more jobs are needed; the site's file allows 2 jobs (maxJobs)")


def test_replicas_default_to_one() -> None:
    text = json.dumps({"workerGroups": [{"name": "gpu"}]})
    assert wanted_slots(replace(cluster(), spec=text, template=text)) == [("head", 0), ("gpu", 0)]
