from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from matrix_crds.reasons import ClusterReason
from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.port import Job, JobPhase
from matrix_slurm_bridge.slurm.states import PHASES, how_ended, phase_of, why_waiting

AT = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job("7", JobTag("0" * 8 + "-0000-0000-0000-" + "0" * 12, "head", 0, 1, 1), JobPhase.ENDED, "FAILED", "", AT)


def test_a_state_of_a_slurm_to_come_counts_as_running() -> None:
    assert phase_of("TELEPORTING") is JobPhase.RUNNING


def test_what_does_not_come_back_by_itself_is_lost_and_what_was_requeued_is_not() -> None:
    assert {state for state, phase in PHASES.items() if phase is JobPhase.LOST} >= {"NODE_FAIL", "PREEMPTED", "BOOT_FAIL"}
    assert phase_of("REQUEUED") is phase_of("REQUEUE_HOLD") is phase_of("SPECIAL_EXIT") is JobPhase.WAITING


@pytest.mark.parametrize("slurm", ["", "Priority", "Resources", "BeginTime", "Dependency", "Prolog", "SomethingNew", "NodeDown"])
def test_the_queue_is_nobodys_to_solve(slurm: str) -> None:
    verdict = why_waiting(slurm)
    assert verdict.reason is ClusterReason.QUEUED and not verdict.theirs and slurm in verdict.message


@pytest.mark.parametrize(
    ("slurm", "reason"),
    [
        ("JobHeldUser", ClusterReason.UNSCHEDULABLE),
        ("PartitionDown", ClusterReason.UNSCHEDULABLE),
        ("ReqNodeNotAvail, UnavailableNodes:s1n[1-2]", ClusterReason.UNSCHEDULABLE),
        ("launch failed requeued held", ClusterReason.UNSCHEDULABLE),
        ("DependencyNeverSatisfied", ClusterReason.UNSCHEDULABLE),
        ("PartitionConfig", ClusterReason.INSUFFICIENT_RESOURCES),
        ("PartitionTimeLimit", ClusterReason.INSUFFICIENT_RESOURCES),
        ("AssocGrpGRES", ClusterReason.INSUFFICIENT_RESOURCES),
        ("AssocMaxJobsLimit", ClusterReason.INSUFFICIENT_RESOURCES),
        ("QOSMaxGRESPerUser", ClusterReason.INSUFFICIENT_RESOURCES),
        ("QOSGrpCpuLimit", ClusterReason.INSUFFICIENT_RESOURCES),
        ("MaxGRESPerAccount", ClusterReason.INSUFFICIENT_RESOURCES),
        ("QOSNotAllowed", ClusterReason.INVALID_SPEC),
        ("AccountNotAllowed", ClusterReason.INVALID_SPEC),
        ("Job's account not permitted to use this partition (gpu allows a not b)", ClusterReason.INVALID_SPEC),
    ],
)
def test_what_somebody_has_to_solve_is_said_in_slurms_words_and_ours(slurm: str, reason: ClusterReason) -> None:
    verdict = why_waiting(slurm)
    assert verdict.reason is reason and verdict.theirs and f"(Slurm: {slurm})" in verdict.message


def test_a_word_of_a_family_gets_the_words_of_the_closest() -> None:
    assert "at once" in why_waiting("AssocMaxJobsLimit").message and "used up" in why_waiting("AssocGrpGRES").message


@pytest.mark.parametrize(
    ("state", "slurm", "code", "reason", "words"),
    [
        ("FAILED", "NonZeroExitCode", "3:0", ClusterReason.START_FAILED, "status 3"),
        ("FAILED", "JobLaunchFailure", "0:9", ClusterReason.START_FAILED, "signal 9"),
        ("FAILED", "JobLaunchFailure", "0:53", ClusterReason.START_FAILED, "log's directory"),
        ("FAILED", "BadConstraints", "0:1", ClusterReason.INVALID_SPEC, "constraint"),
        ("TIMEOUT", "TimeLimit", "0:15", ClusterReason.RECOVERING, "time limit"),
        ("OUT_OF_MEMORY", "OutOfMemory", "0:125", ClusterReason.OUT_OF_MEMORY, "memory"),
        ("NODE_FAIL", "NodeDown", "", ClusterReason.NODE_LOST, "node failed"),
        ("PREEMPTED", "", "", ClusterReason.EVICTED, "higher priority"),
        ("CANCELLED", "", "0:15", ClusterReason.RECOVERING, "cancelled"),
    ],
)
def test_how_a_job_ended(state: str, slurm: str, code: str, reason: ClusterReason, words: str) -> None:
    verdict = how_ended(replace(JOB, state=state, reason=slurm, exit_code=code))
    assert verdict.reason is reason and words in verdict.message and slurm in verdict.message


def test_every_end_in_the_table_of_states_has_words() -> None:
    for state, phase in PHASES.items():
        if phase in (JobPhase.ENDED, JobPhase.LOST):
            assert state in how_ended(replace(JOB, state=state, phase=phase)).message
