"""`matrix logs` on Kubernetes: the output and the files of each pod stand alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from matrix_cli.pod_logs import LISTED_AT_ONCE, replica
from matrix_cli.pod_reading import show
from matrix_cli.pod_sources import DIRECTORY, told_apart
from matrix_client.errors import UsageError
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound, Rejected, Unavailable
from tests.fakes.pods import FakePods
from tests.unit.cli.pod_world import CHAT, LAB, NO_ROUTE, REPLICA, WAITS, Capture, Screen, forbidden, logs_of, with_pods


async def shown(pods: FakePods, subject: ObjectKey = LAB, *, previous: bool = False) -> None:
    logs = logs_of(pods, subject, previous=previous)
    await logs.find()
    await show(logs, previous)


def test_the_previous_output_of_one_that_crashed_is_shown_though_others_never_did(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        for name in ("lab-head-1", "lab-w-1"):
            pods.add(name)
        pods.add("lab-w-2", ended_before=True, previous=["out of memory"])
        await shown(pods, previous=True)
        assert (Screen(capsys).lines, pods.pods["lab-w-1"].asked) == (["out of memory"], [])

    with_pods(tmp_path, work)


def test_that_nothing_is_previous_is_said(tmp_path: Path) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-w-1")
        with pytest.raises(NotFound, match=r"no container of .*lab has been started again"):
            await shown(pods, previous=True)
        with pytest.raises(UsageError, match="`matrix logs MatrixCluster/team/lab --previous`"):
            await shown(pods, CHAT, previous=True)

    with_pods(tmp_path, work)


def test_a_container_that_waits_to_start_is_told_and_the_others_are_shown(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-w-1", refusal=WAITS)
        pods.add("lab-w-2").write("runs")
        await shown(pods)
        screen = Screen(capsys)
        assert screen.lines == ["[w-2] runs"]
        assert screen.notes == [f"note: w-1: the API server refuses it: {WAITS[1]}"]

    with_pods(tmp_path, work)


def test_when_nothing_could_be_shown_it_fails_and_all_reasons_are_told(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-w-1", refusal=WAITS)
        pods.add("lab-w-2", refusal=NO_ROUTE)
        with pytest.raises(Rejected, match="ContainerCreating"):
            await shown(pods)
        assert ["no route to host" in note for note in Screen(capsys).notes] == [True]

    with_pods(tmp_path, work)


def test_files_of_a_pod_that_can_t_be_reached_are_told_and_the_others_are_shown(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-w-1", exec_refusal=NO_ROUTE)
        pods.add("lab-w-2")
        (pods.files("lab-w-2") / REPLICA).write_text("answers\n")
        await shown(pods, CHAT)
        screen = Screen(capsys)
        assert screen.lines == ["answers"]
        assert [note.startswith("note: files of w-1: the API server answered 502") for note in screen.notes] == [True]
        del pods.pods["lab-w-2"]
        with pytest.raises(Unavailable, match="no route to host"):
            await shown(pods, CHAT)

    with_pods(tmp_path, work)


def test_a_right_that_is_missing_is_told_once(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        for name in ("lab-w-1", "lab-w-2"):
            pods.add(name, exec_refusal=forbidden(name)).write("runs")
        screen = Screen(capsys)
        await shown(pods)
        assert screen.lines == ["[w-1] runs", "[w-2] runs"]
        assert len(screen.notes) == 1 and screen.notes[0].startswith("note: files inside the pods: not allowed")
        assert "`get` and `create` on pods/exec" in screen.notes[0]

    with_pods(tmp_path, work)


def test_a_pod_that_went_meanwhile_is_no_news(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-w-1").write("runs")
        pods.add("lab-w-2", exec_refusal=(404, "pods not found"))
        screen = Screen(capsys)
        await shown(pods)
        assert (screen.lines, screen.notes) == (["[w-1] runs"], [])

    with_pods(tmp_path, work)


def test_a_problem_is_told_once_until_it_was_well(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        logs = logs_of(pods)
        for subject in ("w-1", "w-1", "w-2"):
            logs.tell(subject, "away")
        logs.well("w-1")
        logs.tell("w-1", "away")
        assert Screen(capsys).notes == ["note: w-1: away", "note: w-2: away", "note: w-1: away"]

    with_pods(tmp_path, work)


def test_the_lines_of_several_files_are_told_apart() -> None:
    async def lines() -> AsyncIterator[str]:
        for line in (
            "before",
            f"==> {DIRECTORY}/a <==",
            "one",
            "",
            "two",
            "",
            f"==> {DIRECTORY}/b <==",
            "==> c <==",
            "",
            f"==> {DIRECTORY}/a <==",
            "three",
            "",
        ):
            yield line

    async def read() -> list[tuple[str, str]]:
        return [pair async for pair in told_apart(lines(), ("a", "b"))]

    assert asyncio.run(read()) == [
        ("", "before"),
        ("a", "one"),
        ("a", ""),
        ("a", "two"),
        ("b", "==> c <=="),
        ("a", "three"),
        ("a", ""),
    ]


def test_files_are_looked_for_in_a_few_pods_at_once(tmp_path: Path) -> None:
    async def work(pods: FakePods) -> None:
        for number in range(3 * LISTED_AT_ONCE):
            pods.add(f"lab-w-{number}")
        await logs_of(pods).find()
        assert all(pod.runs == 1 for pod in pods.pods.values())
        assert 1 < pods.most_at_once <= LISTED_AT_ONCE

    with_pods(tmp_path, work)


def test_what_a_replica_printed_is_found_by_the_name_at_its_head(tmp_path: Path) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-w-1")
        for pid, head in (
            (101, ":job_id:01000000\n:actor_name:ServeReplica:mx-md-chat:Replica\nINFO the engine's line without an end"),
            (102, ":job_id:01000000\n:actor_name:ServeReplica:mx-md-chat-2:Replica\n"),
            (103, ":job_id:01000000\n" + 100 * "something else\n" + ":actor_name:ServeReplica:mx-md-chat:Replica\n"),
            (104, "the name :actor_name:ServeReplica:mx-md-chat:Replica in a line\n"),
            (105, ":job_id:01000000\n:actor_name:ServeReplica:mx-md-chat:Other\n"),
        ):
            (pods.files("lab-w-1") / f"worker-1f2e-01000000-{pid}.out").write_text(head)
        logs = logs_of(pods, CHAT)
        await logs.find()
        assert sorted(logs.names()) == ["output/101", "output/105"]

    with_pods(tmp_path, work)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("serve/replica_mx-md-chat_Replica_abc.log", "replica/abc"),
        ("serve/controller_build_mx-md-chat_528.log", "build/528"),
        ("worker-1f2e-01000000-102.out", "output/102"),
    ],
)
def test_a_replica_s_files_have_the_names_of_one_machine(path: str, name: str) -> None:
    assert replica(path) == name
