"""What a look says about the jobs in the journal."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from matrix_slurm_bridge.agent.ledger import FORGOTTEN, NEVER_ARRIVED, absorb, recalled, unsure, vanished
from matrix_slurm_bridge.slurm.port import JobPhase
from tests.unit.slurm_agent.samples import EARLIER, NOW, entry, job, tag

SECOND = timedelta(seconds=1)


def test_a_job_that_is_absent_has_not_ended_at_once() -> None:
    (first,) = absorb([entry(tag())], [], NOW)
    assert first.open and first.missing_since == NOW
    (later,) = absorb([first], [], NOW + FORGOTTEN - SECOND)
    assert later.open and later.missing_since == NOW
    (gone,) = absorb([later], [], NOW + FORGOTTEN)
    assert not gone.open and "does not remember" in gone.ending and gone.ran_seconds == 3600


def test_a_submission_without_an_answer_is_waited_for_longer() -> None:
    intent = replace(entry(tag()), job_id="", missing_since=NOW)
    (waiting,) = absorb([intent], [], NOW + FORGOTTEN)
    assert waiting.open
    (gone,) = absorb([intent], [], NOW + NEVER_ARRIVED)
    assert gone.ending == "Slurm has not received it" and gone.ran_seconds == 0


def test_a_failed_look_starts_the_count_of_absence_anew() -> None:
    (missing,) = absorb([entry(tag())], [], NOW)
    (unknown,) = unsure([missing])
    (again,) = absorb([unknown], [], NOW + FORGOTTEN)
    assert again.open and again.missing_since == NOW + FORGOTTEN


def test_a_submission_whose_answer_was_lost_is_found_by_its_tag() -> None:
    (found,) = absorb([replace(entry(tag()), job_id="", missing_since=NOW)], [job(tag(), JobPhase.WAITING)], NOW)
    assert found.job_id == "101" and found.open and found.missing_since is None


def test_one_that_was_given_up_and_appears_after_all_lives() -> None:
    (back,) = absorb([entry(tag(), ended_at=EARLIER, ending="x")], [job(tag(), JobPhase.WAITING)], NOW)
    assert back.open and not back.ending


def test_the_end_is_told_in_slurms_words() -> None:
    over = job(tag(), JobPhase.ENDED, state="FAILED", reason="NonZeroExitCode", exit_code="3:0", ended_at=EARLIER + 5 * SECOND)
    (ended,) = absorb([entry(tag())], [over], NOW)
    assert ended.ending == "its script ended with status 3 (Slurm: FAILED, NonZeroExitCode, exit 3:0)"
    assert ended.ran_seconds == 5 and ended.ended_at == NOW
    assert absorb([ended], [over], NOW + SECOND) == [ended]
    assert absorb([ended], [], NOW + SECOND) == [ended]


def test_jobs_that_a_lost_journal_does_not_know_are_taken_up() -> None:
    (adopted,) = absorb([], [job(tag(serial=4))], NOW)
    assert adopted.tag == tag(serial=4) and adopted.job_id == "104" and adopted.open


def test_a_living_job_counts_more_than_an_ended_one_of_the_same_tag() -> None:
    jobs = [job(tag()), job(tag(), JobPhase.ENDED, submitted_at=NOW)]
    (found,) = absorb([entry(tag())], jobs, NOW)
    assert found.open


def test_a_job_that_left_the_queue_unseen_has_the_end_that_the_accounting_knows() -> None:
    (gone,) = absorb([replace(entry(tag()), missing_since=NOW - FORGOTTEN)], [], NOW)
    assert vanished(gone) and not vanished(entry(tag()))
    past = job(tag(), JobPhase.ENDED, state="TIMEOUT", reason="TimeLimit", ended_at=EARLIER + 90 * SECOND)
    told = recalled(gone, past)
    assert told.ending == "its time limit ended it (Slurm: TIMEOUT, TimeLimit)" and told.ran_seconds == 90 and not vanished(told)
    assert recalled(gone, job(tag())) == gone, "it has not heard of the end"
