from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from matrix_slurm_bridge.slurm import parsing
from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.parsing import FIELD, QUEUE_FIELDS, RECORD
from matrix_slurm_bridge.slurm.port import JobPhase

TAG = JobTag("12345678-1234-1234-1234-123456789012", "gpu", 0, 1, 2)
RUNNING = {
    "JobID": "12",
    "State": "RUNNING",
    "SubmitTime": "2026-11-30T02:11:22",
    "StartTime": "2026-11-30T02:11:23",
    "EndTime": "2026-11-30T03:11:23",
    "TimeLimit": "1:00:00",
    "BatchHost": "n1",
    "Partition": "main",
    "RestartCnt": "0",
    "exit_code": "0",
    "PriorityLong": "4294901753",
    "Reason": "None",
    "Name": TAG.job_name,
    "Comment": TAG.comment,
}


def line(**changes: str) -> str:
    values = RUNNING | changes
    return FIELD.join(values[field] for field in QUEUE_FIELDS) + RECORD + "\n"


def test_a_running_job() -> None:
    [job] = parsing.queue(line())
    assert (job.id, job.tag, job.phase, job.state, job.reason, job.host) == ("12", TAG, JobPhase.RUNNING, "RUNNING", "", "n1")
    assert job.submitted_at == datetime(2026, 11, 30, 2, 11, 22, tzinfo=UTC)
    assert job.ends_at == datetime(2026, 11, 30, 3, 11, 23, tzinfo=UTC)
    assert (job.started_at, job.expected_start, job.ended_at) == (datetime(2026, 11, 30, 2, 11, 23, tzinfo=UTC), None, None)


@pytest.mark.parametrize("limit", ["UNLIMITED", "infinite", "365-00:00:00"])
def test_one_without_a_time_limit_has_no_end_though_squeue_names_one_in_a_year(limit: str) -> None:
    [job] = parsing.queue(line(TimeLimit=limit, EndTime="2027-11-30T02:11:23"))
    assert job.ends_at is None and job.started_at


def test_a_waiting_one_has_an_expected_start_and_none_of_the_other_times() -> None:
    [job] = parsing.queue(line(State="PENDING", BatchHost="n/a", Reason="ReqNodeNotAvail, UnavailableNodes:n[1,2]"))
    assert (job.started_at, job.ends_at, job.ended_at, job.host) == (None, None, None, "")
    assert job.expected_start and job.reason == "ReqNodeNotAvail, UnavailableNodes:n[1,2]"
    [job] = parsing.queue(line(State="PENDING", StartTime="N/A", EndTime="N/A"))
    assert job.expected_start is None


def test_an_ended_one() -> None:
    [job] = parsing.queue(line(State="FAILED", Reason="NonZeroExitCode", exit_code="768"))
    assert (job.phase, job.exit_code, job.ends_at) == (JobPhase.ENDED, "3:0", None) and job.ended_at


@pytest.mark.parametrize(("number", "words"), [("0", "0:0"), ("768", "3:0"), ("9", "0:9"), ("4021", "0:53"), ("0:125", "0:125"), ("", "")])
def test_an_exit_code_is_the_number_of_wait_or_the_words(number: str, words: str) -> None:
    assert parsing.exit_code(number) == words


def test_jobs_of_other_names_and_a_job_of_our_name_without_our_comment_are_left_out() -> None:
    text = line(Name="python") + line(Comment="(null)") + line(Comment="matrix:elsewhere") + line(JobID="13")
    assert [job.id for job in parsing.queue(text)] == ["13"]


def test_no_name_and_no_comment_of_a_stranger_hides_one_of_ours() -> None:
    text = line(Name="a|b\nc", Comment="x\ny\n") + line(Comment=f"odd{FIELD}") + line(JobID="13")
    assert [job.id for job in parsing.queue(text)] == ["13"]


def test_nothing_is_an_empty_queue() -> None:
    assert list(parsing.queue("")) == []


def test_what_can_not_be_read_is_an_error_and_not_an_absent_job() -> None:
    with pytest.raises(ValueError):
        list(parsing.queue(line(SubmitTime="yesterday")))


def test_places_in_the_line_of_each_partition_by_priority_and_then_by_number() -> None:
    rows = [("5", "main", "10"), ("3", "main", "10"), ("9", "main", "20"), ("4", "high", "1"), ("6", "main,high", "5")]
    assert parsing.positions("".join(FIELD.join(row) + RECORD for row in rows)) == {"9": 1, "3": 2, "5": 3, "4": 2, "6": 1}


def sinfo(*rows: str) -> str:
    return "\n".join(row.replace("|", FIELD) for row in rows)


def test_the_kinds_of_nodes_of_a_partition_come_together() -> None:
    text = sinfo("gpu*|up|4|64|512000|gpu:a100:4(S:0,1),nvme:1|2-00:00:00", "gpu*|up|2|32+|256000+|gpu:h100:8|2-00:00:00")
    text += "\n" + sinfo("cpu|drain|9|8|1000|(null)|infinite")
    gpu, cpu = parsing.partitions(text)
    assert (gpu.name, gpu.default, gpu.up, gpu.nodes, gpu.cpus, gpu.memory_mb) == ("gpu", True, True, 6, 32, 256000)
    assert gpu.gres == ("gpu:a100:4(S:0,1)", "nvme:1", "gpu:h100:8") and gpu.time_limit == timedelta(days=2)
    assert (cpu.name, cpu.default, cpu.up, cpu.gres, cpu.time_limit) == ("cpu", False, False, (), None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1:00", 60), ("30", 30), ("2:03:04", 7384), ("1-00:00:00", 86400), ("7-12:00:30", 648030), ("infinite", None)]
)
def test_durations(text: str, seconds: int | None) -> None:
    assert parsing.duration(text) == (None if seconds is None else timedelta(seconds=seconds))


def test_the_accounting_says_who_cancelled_in_the_state() -> None:
    row = ["7", "CANCELLED by 42001", "2026-11-30T02:11:22", "2026-11-30T02:11:23", "Unknown", "n1", "main", "0:15", "None", TAG.job_name]
    [job] = parsing.past(FIELD.join([*row, TAG.comment]))
    assert (job.state, job.phase, job.ended_at, job.exit_code) == ("CANCELLED", JobPhase.ENDED, None, "0:15")
    assert list(parsing.past(FIELD.join([*row, ""]))) == []
