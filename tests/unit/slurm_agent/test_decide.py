"""Decisions, as tables over what a look can show."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.agent.decide import (
    DRAIN_SECONDS,
    Cancel,
    Drain,
    Hold,
    Remove,
    Submit,
    TakeOver,
    decide,
    due_at,
    wanted_slots,
)
from matrix_slurm_bridge.agent.model import Phase
from matrix_slurm_bridge.slurm.port import Job, JobPhase
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


def drained(steps: list[object]) -> list[object]:
    return [step.job.tag for step in steps if isinstance(step, Drain)]


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


def test_of_two_heads_that_run_the_earlier_one_is_ended_once_the_later_one_has_begun() -> None:
    both = (job(tag()), job(tag(serial=2)))
    assert decide(view(*both, record_serial=1)) == []
    assert cancelled(decide(view(*both, record_serial=2))) == [tag()]


def test_a_lost_worker_is_replaced() -> None:
    steps = decide(view(job(tag()), job(tag("gpu", 0)), job(tag("gpu", 1), LOST), wanted=cluster(gpu=2)))
    assert submitted(steps) == [tag("gpu", 1, serial=2)] and not cancelled(steps)


def test_scaling_down_drains_the_last_ones_and_cancels_what_only_waits() -> None:
    jobs = (job(tag()), job(tag("gpu", 0)), job(tag("gpu", 1)), job(tag("gpu", 2), ENDING), job(tag("gpu", 3), WAITING))
    steps = decide(view(*jobs, wanted=cluster(gpu=1)))
    assert drained(steps) == [tag("gpu", 1)] and cancelled(steps) == [tag("gpu", 3)]


def test_a_worker_that_drains_is_left_alone_until_its_time_is_over() -> None:
    jobs = (job(tag()), job(tag("gpu", 0)), job(tag("gpu", 1)))
    for seconds, ended in ((0, []), (DRAIN_SECONDS - 1, []), (DRAIN_SECONDS, [tag("gpu", 1)])):
        asked = {tag("gpu", 1): NOW - timedelta(seconds=seconds)}
        steps = decide(view(*jobs, wanted=cluster(gpu=1), draining=asked))
        assert cancelled(steps) == ended and not drained(steps)


def test_who_deletes_or_makes_anew_waits_for_no_drain() -> None:
    jobs = (job(tag()), job(tag("gpu")))
    for wanted in (cluster(Phase.DELETE, gpu=1), cluster(attempt=2, gpu=1)):
        assert cancelled(decide(view(*jobs, wanted=wanted))) == [tag(), tag("gpu")]


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
    assert decide(view(*jobs, wanted=cluster(gpu=1))) == [], "the head is lost, or its record can't be read"
    joined = frozenset({tag("gpu", 0), tag("gpu", 0, serial=2)})
    assert drained(decide(view(*jobs, wanted=cluster(gpu=1), joined=joined))) == [tag("gpu", 0)]


def test_the_more_workers_the_earlier_the_first_of_them_is_succeeded_the_one_that_ends_first() -> None:
    ends = (NOW + timedelta(minutes=45), NOW + timedelta(minutes=25), NOW + timedelta(minutes=35))
    workers = [job(tag("gpu", index), started_at=NOW - timedelta(hours=5), ends_at=end) for index, end in enumerate(ends)]
    assert submitted(decide(view(job(tag()), *workers, wanted=cluster(gpu=3)))) == [tag("gpu", 1, serial=2)]
    alone = job(tag("gpu"), started_at=NOW - timedelta(hours=5), ends_at=ends[1])
    assert decide(view(job(tag()), alone, wanted=cluster(gpu=1))) == []


HEAD_ENDS = job(tag(), started_at=NOW - timedelta(hours=5), ends_at=NOW + timedelta(minutes=9))
HEIR = job(tag(serial=2), started_at=NOW)
STANDS_BY = {"standing_by": frozenset({HEIR.tag}), "record_serial": 1}
PREPARED = STANDS_BY | {"prepared": frozenset({HEIR.tag})}
JOINED = frozenset({tag("gpu")})


def test_a_head_whose_time_ends_gets_one_that_stands_by() -> None:
    assert decide(view(HEAD_ENDS)) == [Submit(tag(serial=2), "its predecessor's time ends", stands_by=True)]
    for heir in (HEIR, replace(HEIR, phase=WAITING)):
        assert decide(view(HEAD_ENDS, heir, **STANDS_BY)) == []
    assert cancelled(decide(view(job(tag()), HEIR, **STANDS_BY))) == [HEIR.tag], "somebody has given the head more time"


def test_it_takes_over_when_the_workers_have_settled() -> None:
    begins = [TakeOver(HEIR, "its predecessor's time ends")]
    jobs = (HEAD_ENDS, HEIR, job(tag("gpu")))
    assert decide(view(*jobs, wanted=cluster(gpu=1), joined=JOINED, **PREPARED)) == begins
    assert decide(view(*jobs, wanted=cluster(gpu=1), **PREPARED)) == [], "the worker has not joined"
    assert decide(view(*jobs, wanted=cluster(gpu=1), joined=JOINED, **STANDS_BY)) == [], "it is not prepared"
    drains = {tag("gpu", 1): NOW}
    assert decide(view(*jobs, job(tag("gpu", 1)), wanted=cluster(gpu=1), joined=JOINED, draining=drains, **PREPARED)) == []


def test_when_time_is_short_it_takes_over_however_it_stands_with_the_workers() -> None:
    late = replace(HEAD_ENDS, ends_at=NOW + timedelta(minutes=2))
    assert TakeOver(HEIR, "its predecessor's time ends") in decide(view(late, HEIR, wanted=cluster(gpu=1), **PREPARED))


@pytest.mark.parametrize("heir", [HEIR, replace(HEIR, phase=WAITING)])
def test_it_takes_over_when_the_former_head_has_ended(heir: Job) -> None:
    for phase in (ENDED, LOST, ENDING):
        assert decide(view(replace(HEAD_ENDS, phase=phase), heir, **STANDS_BY)) == [TakeOver(heir, "the former head has ended")]


def test_after_it_has_taken_over_the_former_one_is_cancelled() -> None:
    assert decide(view(HEAD_ENDS, HEIR, record_serial=1)) == []
    assert cancelled(decide(view(HEAD_ENDS, HEIR, record_serial=2))) == [tag()]


def test_the_limit_of_the_site_does_not_stop_a_cluster_that_only_lacks_a_successor() -> None:
    (hold,) = decide(view(HEAD_ENDS, room=0, limit="no more"))
    assert hold == Hold(ClusterReason.INSUFFICIENT_RESOURCES, "1 more jobs are needed; no more", vital=False)


def test_a_short_job_gets_its_successor_in_its_last_third() -> None:
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
    message = "2 more jobs are needed; the site's file allows 2 jobs (maxJobs)"
    assert steps[-1] == Hold(ClusterReason.INSUFFICIENT_RESOURCES, message, vital=False)
    (hold,) = decide(view(room=0, limit="no more"))
    assert isinstance(hold, Hold) and hold.vital


def test_replicas_default_to_one() -> None:
    text = json.dumps({"workerGroups": [{"name": "gpu"}]})
    assert wanted_slots(replace(cluster(), spec=text, template=text)) == [("head", 0), ("gpu", 0)]
