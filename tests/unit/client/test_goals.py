"""What one can wait for, as it is written."""

from __future__ import annotations

import pytest

from matrix_client.errors import UsageError
from matrix_client.goals import ConditionIs, Deleted, Goal, parse

GOOD = [
    ("condition=Ready", ConditionIs("Ready", "True"), "Ready"),
    ("condition=HeadReady=False", ConditionIs("HeadReady", "False"), "HeadReady=False"),
    ("condition=Ready=unknown", ConditionIs("Ready", "Unknown"), "Ready=Unknown"),
    ("delete", Deleted(), "deletion"),
]


@pytest.mark.parametrize(("text", "goal", "shown"), GOOD)
def test_goals_are_read_as_kubectl_writes_them(text: str, goal: Goal, shown: str) -> None:
    assert parse(text) == goal
    assert str(goal) == shown


@pytest.mark.parametrize("text", ["", "Ready", "condition=", "condition=Ready=perhaps", "jsonpath={.status}", "deleted"])
def test_other_words_are_refused_with_what_is_right(text: str) -> None:
    with pytest.raises(UsageError, match="write condition=Ready"):
        parse(text)
