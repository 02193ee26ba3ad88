"""The command line's parts for Kubernetes that need no cluster."""

from __future__ import annotations

import pytest

from matrix_cli.causes import Operator, Snapshot, explain
from matrix_cli.commands.port_forward import read_port
from matrix_cli.doctor.cluster import RIGHTS, judge_operator, judge_right, judge_version
from matrix_cli.doctor.findings import State
from matrix_cli.exits import Exit
from matrix_client import kubernetes_operator
from matrix_client.errors import UsageError
from tests.unit.cli.runner import run
from tests.unit.cli.test_why import READY, stored
from tests.unit.client.worlds import LAB, World


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("openai", (None, "openai")),
        ("9000:openai", (9000, "openai")),
        ("0:dashboard", (0, "dashboard")),
        ("9000", (9000, "openai")),
    ],
)
def test_a_port_to_forward(text: str, read: tuple[int | None, str]) -> None:
    assert read_port(text) == read


@pytest.mark.parametrize("text", ["a:openai", "99999:openai", "9000:", ":openai", "-1:openai"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no port to forward"):
        read_port(text)


def test_on_this_machine_nothing_is_forwarded(world: World) -> None:
    world.put(LAB)
    result = run(world, "port-forward", "lab")
    assert (result.exit_code, "only in the context kubernetes" in result.stderr) == (Exit.INVALID, True)


def test_an_operator_that_does_not_run_stands_beside_the_chain() -> None:
    gone, there = Operator(False, "it was stopped"), Operator(True, "op-1")
    assert [link.subject for link in explain(LAB, Snapshot({LAB: READY}, there))] == ["MatrixCluster/lab"]
    waiting = explain(LAB, Snapshot({LAB: stored(LAB)}, gone))[-1]
    assert (waiting.subject, waiting.statement, waiting.beside) == (
        "the operator",
        "is not running: it was stopped; nobody works on this",
        True,
    )
    assert "nothing heals" in explain(LAB, Snapshot({LAB: READY}, gone))[-1].statement


def test_what_doctor_judges() -> None:
    none, gone, there = None, kubernetes_operator.Operator(False, "gone"), kubernetes_operator.Operator(True, "op-1")
    assert [judge_operator(found).state for found in (none, gone, there)] == [State.WARNING, State.PROBLEM, State.OK]
    assert judge_version({"gitVersion": "v1.34.2", "minor": "34"}).state is State.OK
    assert judge_version({"gitVersion": "v1.28.0-gke", "minor": "28+"}).state is State.WARNING
    answers = {right: True for _, rights in RIGHTS.values() for right in rights}
    assert all(judge_right(name, answers).state is State.OK for name in RIGHTS)
    answers["", "pods/portforward", "create"] = False
    missing = judge_right("port-forward", answers)
    assert (missing.state, missing.remedy) == (State.WARNING, "ask the cluster's administrator for: create pods/portforward")
