"""`matrix logs --follow` on Kubernetes, through what can happen to a pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from matrix_cli.pod_reading import MOST_OUTPUTS, Pace, follow
from matrix_client.errors import UsageError
from matrix_crds.keys import ObjectKey
from matrix_store.errors import Forbidden
from tests.fakes.pods import FakePod, FakePods
from tests.unit.cli.pod_world import CHAT, LAB, NO_ROUTE, REPLICA, WAITS, Capture, Screen, forbidden, logs_of, with_pods
from tests.waiting import until

QUICK = Pace(outputs=0.05, files=0.05, again=0.02, longest=0.05)


@asynccontextmanager
async def following(pods: FakePods, subject: ObjectKey = LAB, *, lines: int = 100) -> AsyncIterator[None]:
    logs = logs_of(pods, subject, lines=lines)
    await logs.find()
    task = asyncio.create_task(follow(logs, QUICK))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def cut_off(pod: FakePod, screen: Screen) -> None:
    """Its files can't be read any more, and that was told."""
    pod.exec_refusal = NO_ROUTE
    pod.cut()
    await until(lambda: bool(screen.notes))


def test_a_container_that_is_started_again_is_followed_on(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        one, screen = pods.add("lab-w-1"), Screen(capsys)
        one.write("one", "two")
        async with following(pods, lines=1):
            await screen.until("two")
            one.lines = []  # the new container's
            one.changed.set()
            one.write("started again", second=30)
            await screen.until("started again")
        assert (screen.lines, screen.notes) == (["two", "started again"], [])

    with_pods(tmp_path, work)


def test_after_a_break_no_line_of_a_container_comes_twice_and_none_is_lost(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        one, screen = pods.add("lab-w-1"), Screen(capsys)
        one.write("before", second=2.1)
        one.write("first", "second", second=2.5)
        async with following(pods):
            await screen.until("second")
            one.cut()
            one.write("third", second=2.5)
            await screen.until("third")
            one.write("last", second=3)
            await screen.until("last")
        assert (screen.lines, screen.notes) == (["before", "first", "second", "third", "last"], [])

    with_pods(tmp_path, work)


def test_what_the_kubelet_complains_of_is_a_note_told_once_and_the_lines_come(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        one, screen = pods.add("lab-w-1", complaint="failed to create fsnotify watcher: too many open files"), Screen(capsys)
        one.write("one")
        async with following(pods):
            for text in ("two", "three"):
                asked = len(one.asked)
                await until(lambda asked=asked: len(one.asked) > asked + 2)  # type: ignore[misc]
                one.write(text, second=5)
                await screen.until(text)
        assert screen.lines == ["one", "two", "three"]
        assert screen.notes == [f"note: w-1, says the kubelet: {one.complaint}"]

    with_pods(tmp_path, work)


def test_files_are_followed_on_after_a_break(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        one, screen = pods.add("lab-w-1"), Screen(capsys)
        pods.add("lab-w-2")
        paths = [pods.files(pod) / REPLICA.replace("abc", pod) for pod in pods.pods]
        for path in paths:
            path.write_text("skipped\n0\n")
        async with following(pods, CHAT, lines=1):
            await screen.until("[replica/lab-w-1] 0", "[replica/lab-w-2] 0")
            for turn, (first, last) in enumerate(((1, 2), (3, 4)), 1):
                one.exec_refusal = NO_ROUTE
                one.cut()
                await until(lambda turn=turn: sum("no route to host" in note for note in screen.notes) == turn)  # type: ignore[misc]
                for path in paths:
                    with path.open("a") as file:
                        file.write(f"{first}\n{last}\n")
                await screen.until(f"[replica/lab-w-2] {last}")  # the other one goes on
                assert f"[replica/lab-w-1] {first}" not in screen.lines
                one.exec_refusal = None
                await screen.until(f"[replica/lab-w-1] {last}")
        assert sorted(screen.lines) == [f"[replica/lab-w-{pod}] {line}" for pod in (1, 2) for line in range(5)]

    with_pods(tmp_path, work)


def test_a_file_that_was_begun_anew_meanwhile_is_read_from_its_start(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        one, screen = pods.add("lab-w-1"), Screen(capsys)
        path = pods.files("lab-w-1") / REPLICA
        path.write_text("one\ntwo\n")
        async with following(pods, CHAT):
            await screen.until("two")
            await cut_off(one, screen)
            path.write_text("anew\n")
            one.exec_refusal = None
            await screen.until("anew")
        assert screen.lines == ["one", "two", "anew"]

    with_pods(tmp_path, work)


def test_files_of_a_ray_that_was_started_anew_are_read_from_their_start(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        one, screen = pods.add("lab-w-1"), Screen(capsys)
        path = pods.files("lab-w-1") / REPLICA
        path.write_text("one\n")
        async with following(pods, CHAT):
            await screen.until("one")
            await cut_off(one, screen)
            pods.restart("lab-w-1")
            (pods.files("lab-w-1") / REPLICA).write_text("anew\nand more than before\n")
            one.exec_refusal = None
            await screen.until("and more than before")
        assert screen.lines == ["one", "anew", "and more than before"]

    with_pods(tmp_path, work)


def test_pods_and_files_that_come_later_join_and_one_that_goes_takes_nothing_along(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-w-1").write("early")
        screen = Screen(capsys)
        async with following(pods, lines=1):
            await screen.until("early")
            pods.add("lab-w-2").write("late", "and more")
            await screen.until("[w-2] late", "[w-2] and more")
            (pods.files("lab-w-2") / "raylet.out").write_text("a\nb\n")
            await screen.until("[w-2/raylet.out] a", "[w-2/raylet.out] b")
            gone = pods.pods.pop("lab-w-1")
            gone.cut()
            lists, asked = pods.lists, len(gone.asked)
            await until(lambda: pods.lists > lists + 2)
            pods.pods["lab-w-2"].write("goes on", second=5)
            await screen.until("[w-2] goes on")
            assert len(gone.asked) == asked
        assert screen.notes == []

    with_pods(tmp_path, work)


def test_pods_that_have_all_gone_are_waited_for(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-head").write("one")
        screen = Screen(capsys)
        async with following(pods):
            await screen.until("one")
            pods.pods.pop("lab-head").cut()
            await screen.until("note: pods: there are none now; those that come are followed")
            pods.add("lab-head").write("of another of that name")  # at the same time
            await screen.until("of another of that name")
        assert (screen.lines, len(screen.notes)) == (["one", "of another of that name"], 1)

    with_pods(tmp_path, work)


def test_while_pods_can_t_be_listed_what_was_there_is_followed(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        one, screen = pods.add("lab-w-1"), Screen(capsys)
        one.write("one")
        async with following(pods):
            await screen.until("one")
            pods.list_refusal = (503, "away")
            await until(lambda: any("pods: the API server answered 503" in note for note in screen.notes))
            one.cut()
            one.write("two", second=9)
            await screen.until("two")
        assert (screen.lines, len(screen.notes)) == (["one", "two"], 1)

    with_pods(tmp_path, work)


def test_one_that_waits_to_start_is_told_once_and_followed_from_its_first_line(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        one, two, screen = pods.add("lab-w-1", refusal=WAITS), pods.add("lab-w-2"), Screen(capsys)
        two.write("runs")
        async with following(pods):
            await until(lambda: len(one.asked) > 3)
            one.refusal = None
            one.write("first", second=1)
            await screen.until("[w-1] first", "[w-2] runs")
        assert screen.notes == [f"note: w-1: the API server refuses it: {WAITS[1]}"]

    with_pods(tmp_path, work)


def test_a_right_that_is_missing_for_the_output_leaves_the_files(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        screen = Screen(capsys)
        for name in ("lab-w-1", "lab-w-2"):
            pods.add(name, refusal=forbidden(name))
            (pods.files(name) / "raylet.out").write_text("one\n")
        async with following(pods):
            await until(lambda: all(len(pod.asked) > 3 for pod in pods.pods.values()))
            with (pods.files("lab-w-1") / "raylet.out").open("a") as file:
                file.write("two\n")
            await screen.until("[w-1/raylet.out] two", "[w-2/raylet.out] one")
        assert [note.startswith("note: containers: not allowed") for note in screen.notes] == [True]

    with_pods(tmp_path, work)


def test_files_that_may_not_be_read_are_asked_for_once_in_each_pod(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        for name in ("lab-w-1", "lab-w-2"):
            pods.add(name, exec_refusal=forbidden(name)).write("runs")
        screen = Screen(capsys)
        async with following(pods):
            await screen.until("[w-1] runs", "[w-2] runs")
            pods.add("lab-w-3", exec_refusal=forbidden("lab-w-3")).write("late")
            await until(lambda: pods.pods["lab-w-3"].runs == 1)
            lists = pods.lists
            await until(lambda: pods.lists > lists + 6)
        assert [pod.runs for pod in pods.pods.values()] == [1, 1, 1]
        assert [note.startswith("note: files inside the pods: not allowed") for note in screen.notes] == [True]

    with_pods(tmp_path, work)


def test_following_ends_where_nothing_may_be_read(tmp_path: Path) -> None:
    async def work(pods: FakePods) -> None:
        for name in ("lab-w-1", "lab-w-2"):
            pods.add(name, refusal=forbidden(name), exec_refusal=forbidden(name))
        logs = logs_of(pods)
        await logs.find()
        with pytest.raises(Forbidden, match="`get` on pods/log"):
            await follow(logs, QUICK)

    with_pods(tmp_path, work)


def test_a_reader_who_left_ends_it_as_if_there_were_no_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    async def work(pods: FakePods) -> None:
        for name in ("lab-w-1", "lab-w-2"):
            pods.add(name).write("one")
        logs = logs_of(pods)
        await logs.find()
        monkeypatch.setattr("click.echo", closed)
        with pytest.raises(BrokenPipeError):
            await follow(logs, QUICK)

    with_pods(tmp_path, work)


def test_more_containers_than_there_are_connections_are_told(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        for number in range(MOST_OUTPUTS + 2):
            pods.add(f"lab-w-{number:02}").write("runs")
        screen, lists = Screen(capsys), pods.lists
        async with following(pods):
            await screen.until(*(f"[w-{number:02}] runs" for number in range(MOST_OUTPUTS)))
            await until(lambda: pods.lists > lists + 3)
            pods.pods.pop("lab-w-00").cut()
            await screen.until(f"[w-{MOST_OUTPUTS}] runs")
        assert f"[w-{MOST_OUTPUTS + 1}] runs" not in screen.lines
        assert (
            screen.notes[0]
            == f"note: --follow: {MOST_OUTPUTS} containers are followed at once, not {MOST_OUTPUTS + 2}; choose with --component"
        )

    with_pods(tmp_path, work)


def test_the_chosen_component_is_also_what_is_chosen_of_what_comes(tmp_path: Path, capsys: Capture) -> None:
    async def work(pods: FakePods) -> None:
        pods.add("lab-head-1").write("head")
        pods.add("lab-w-1").write("one")
        logs, screen = logs_of(pods), Screen(capsys)
        await logs.find()
        logs.choose("w-")
        task = asyncio.create_task(follow(logs, QUICK))
        await screen.until("one")
        pods.add("lab-w-2").write("two")
        await screen.until("[w-2] two")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert screen.lines == ["one", "[w-2] two"]
        with pytest.raises(UsageError, match="has no component 'gpu'"):
            logs.choose("gpu")

    with_pods(tmp_path, work)
