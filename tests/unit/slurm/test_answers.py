from __future__ import annotations

import pytest

from matrix_slurm_bridge.slurm.answers import Answer, in_its_words, judge


@pytest.mark.parametrize(
    ("complaint", "answer"),
    [
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", Answer.REFUSED),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", Answer.REFUSED),
        ("sbatch: unrecognized option '--nix'", Answer.REFUSED),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", Answer.SILENT),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", Answer.SILENT),
        ("slurm_load_jobs error: Invalid job id specified", Answer.UNKNOWN_JOB),
        ("something new", Answer.SILENT),
        ("", Answer.SILENT),
    ],
)
def test_what_is_in_no_table_is_no_answer(complaint: str, answer: Answer) -> None:
    assert judge(complaint) is answer


def test_silence_counts_where_a_complaint_has_both() -> None:
    assert judge("error: Invalid partition name specified\nerror: Socket timed out on send/recv operation") is Answer.SILENT


def test_its_words_are_one_line_without_repetition() -> None:
    assert in_its_words("sbatch: error: a\nsbatch: error: a\n\nsbatch: b") == "a; sbatch: b"
