"""`matrix apply`, `up`, `wait`, `delete`, `down`: what they change, show and return."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from matrix_cli.exits import Exit
from tests.unit.cli.runner import MANIFESTS, records, run, write
from tests.unit.client.worlds import CHAT, LAB, World, ready


@contextmanager
def meanwhile(act: Callable[[], object], seconds: float = 0.3) -> Iterator[None]:
    """Something happens while a command runs."""
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def once_it_says(words: str, act: Callable[[], object]) -> Iterator[None]:
    """Something happens when a command that runs has shown these words."""
    over = threading.Event()

    def watch() -> None:
        while words not in shown() and not over.wait(0.01):
            pass
        if not over.is_set():
            act()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def shown() -> str:
    """What the command that runs in this process has written until now: click puts streams in memory into the places of the real ones."""
    buffers = [getattr(stream, "buffer", None) for stream in (sys.stdout, sys.stderr)]
    return b"".join(buffer.getvalue() for buffer in buffers if hasattr(buffer, "getvalue")).decode()


def test_apply_says_what_it_did(managed_empty: World, tmp_path: Path) -> None:
    file = write(tmp_path)

    assert run(managed_empty, "apply", file).stdout == "MatrixCluster/lab created\nModelDeployment/chat created\n"
    assert run(managed_empty, "apply", "-f", file).stdout == "MatrixCluster/lab unchanged\nModelDeployment/chat unchanged\n"
    write(tmp_path, MANIFESTS.replace("dummy: {}", "dummy: {seed: 7}"))
    assert "ModelDeployment/chat configured" in run(managed_empty, "apply", file).stdout


def test_apply_reads_stdin_and_can_only_try(empty: World) -> None:
    result = run(empty, "apply", "--dry-run", "-", stdin=MANIFESTS)

    assert result.stdout == "MatrixCluster/lab created (dry run)\nModelDeployment/chat created (dry run)\n"
    assert empty.find(LAB) is None


def test_nothing_is_applied_when_one_manifest_of_several_files_is_wrong(empty: World, tmp_path: Path) -> None:
    good = write(tmp_path, name="good.yaml")
    bad = write(tmp_path, MANIFESTS.replace("replicas", "x").replace("engine:", "engin:").replace("name: lab}", "name: Lab}"), "bad.yaml")
    result = run(empty, "apply", good, bad)

    assert result.exit_code == Exit.INVALID
    assert empty.find(LAB) is None
    lines = result.stderr.splitlines()
    assert any("bad.yaml:3" in line and "metadata.name" in line for line in lines)
    assert any("bad.yaml:11" in line and "engin" in line for line in lines)
    assert "Traceback" not in result.stderr


def test_what_can_not_be_changed_is_told_with_its_line(managed_empty: World, tmp_path: Path) -> None:
    file = write(tmp_path)
    run(managed_empty, "apply", file)
    write(tmp_path, MANIFESTS.replace("clusterRef: {name: lab}", "clusterRef: {name: other}"))
    result = run(managed_empty, "apply", file)

    assert result.exit_code == Exit.INVALID
    assert "lab.yaml:9" in result.stderr and "clusterRef" in result.stderr


@pytest.mark.parametrize("command", ["apply", "up", "down"])
def test_a_file_that_is_not_there(empty: World, command: str) -> None:
    result = run(empty, command, "nowhere.yaml")

    assert (result.exit_code, result.stderr) == (Exit.INVALID, "error: nowhere.yaml can't be read: No such file or directory\n")


def test_apply_without_a_file_is_wrong_usage(empty: World) -> None:
    assert run(empty, "apply").exit_code == Exit.INVALID


def test_up_waits_until_everything_is_ready_and_says_what_to_do_next(managed_empty: World, tmp_path: Path) -> None:
    def work() -> None:
        managed_empty.put(LAB, ready(message="1 node"))
        managed_empty.put(CHAT, ready(message="1 of 1 replicas ready"))

    with once_it_says("ModelDeployment/chat: waiting", work):
        result = run(managed_empty, "up", write(tmp_path))

    assert result.exit_code == Exit.OK
    assert result.stdout.startswith("ready in ")
    assert result.stdout.endswith('; ask it: matrix chat chat "Hello"\nfor OpenAI\'s clients: eval "$(matrix env chat)"\n')
    told = result.stderr.splitlines()
    assert told[:2] == ["MatrixCluster/lab created", "ModelDeployment/chat created"]
    assert [line.strip().partition("  ")[2] for line in told[2:]] == [
        "MatrixCluster/lab: waiting for the controller to look at it",
        "ModelDeployment/chat: waiting for the controller to look at it",
        "MatrixCluster/lab: 1 node",
        "ModelDeployment/chat: 1 of 1 replicas ready",
    ]


def test_up_as_json_is_a_line_per_change(managed_empty: World, tmp_path: Path) -> None:
    def work() -> None:
        managed_empty.put(LAB, ready())
        managed_empty.put(CHAT, ready())

    with once_it_says('"object": "ModelDeployment/chat"', work):
        result = run(managed_empty, "up", write(tmp_path), "-o", "json")
    *changes, last = records(result)

    assert last["result"] == "Ready"
    assert {change["state"] for change in changes} == {"waiting", "done"}
    assert changes[-1] | {"time": "", "since": ""} == {
        "time": "",
        "object": "ModelDeployment/chat",
        "waitingFor": "Ready",
        "state": "done",
        "reason": "Ready",
        "message": "all is well",
        "since": "",
    }


def test_up_ends_early_when_only_the_user_can_help(managed_empty: World, tmp_path: Path) -> None:
    words = "the head asks for 64 CPUs, this machine has 2; set spec.head.resources.cpu to 2 or less"

    with once_it_says("MatrixCluster/lab: waiting", lambda: managed_empty.put(LAB, ready("False", "InsufficientResources", words))):
        result = run(managed_empty, "up", write(tmp_path), "--timeout", "30s")

    assert result.exit_code == Exit.FAILED
    assert result.stderr.splitlines()[-1] == f"error: MatrixCluster/lab is not ready (InsufficientResources): {words}"


def test_a_deployment_does_not_repeat_what_its_cluster_says(managed: World, tmp_path: Path) -> None:
    managed.put(LAB, ready("False", "Starting", "head: waiting for the GCS"))
    managed.put(CHAT, ready("False", "ClusterNotReady", "MatrixCluster 'lab': head: waiting for the GCS"))
    result = run(managed, "wait", "mxc/lab", "mxd/chat", "--timeout", "2.5")

    assert [line.strip().partition("  ")[2] for line in result.stderr.splitlines()[:2]] == [
        "MatrixCluster/lab: Starting: head: waiting for the GCS",
        "ModelDeployment/chat: waiting for MatrixCluster/lab",
    ]


def test_a_time_out_has_an_exit_code_of_its_own(managed: World) -> None:
    result = run(managed, "wait", "mxd/chat", "--timeout", "2.5")

    assert result.exit_code == Exit.TIMEOUT
    assert "still not Ready after 2.5 s (Loading: weights, 20 %); it goes on" in result.stderr


def test_wait_for_other_things(managed: World) -> None:
    assert run(managed, "wait", "mxd/chat", "--for", "condition=ClusterReady").exit_code == Exit.OK
    assert run(managed, "wait", "mxd/chat", "--for", "condition=Ready=False").exit_code == Exit.OK
    managed.keep(LAB)
    managed.delete(LAB)
    with meanwhile(lambda: managed.let_go(LAB)):
        assert run(managed, "wait", "mxc/lab", "--for", "delete").exit_code == Exit.OK


def test_wait_for_what_does_not_exist(managed: World) -> None:
    assert run(managed, "wait", "mxd/nothing").exit_code == Exit.NOT_FOUND
    assert run(managed, "wait", "mxd/chat", "--for", "readiness").exit_code == Exit.INVALID
    assert run(managed, "wait", "mxd/chat", "--timeout", "soon").exit_code == Exit.INVALID


def test_delete_does_not_wait(managed: World) -> None:
    managed.keep(LAB)
    result = run(managed, "delete", "mxd/chat", "mxc/lab")

    assert result.stdout == "ModelDeployment/chat deleted\nMatrixCluster/lab is being deleted\n"
    assert managed.find(CHAT) is None
    assert run(managed, "delete", "mxd/chat").exit_code == Exit.NOT_FOUND


def test_delete_says_what_was_done_before_it_failed(managed: World) -> None:
    result = run(managed, "delete", "mxd/chat", "mxd/typo")

    assert (result.exit_code, result.stdout) == (Exit.NOT_FOUND, "ModelDeployment/chat deleted\n")
    assert result.stderr.startswith("error: ModelDeployment/typo does not exist")


def test_down_takes_models_before_their_clusters_and_waits(managed: World, tmp_path: Path) -> None:
    managed.keep(LAB)
    file = write(tmp_path)
    with once_it_says("MatrixCluster/lab: Deleting", lambda: managed.let_go(LAB)):
        result = run(managed, "down", file)

    assert result.exit_code == Exit.OK
    assert result.stdout.startswith("removed in ")
    told = [line.strip().partition("  ")[2] for line in result.stderr.splitlines()]
    assert told == [
        "ModelDeployment/chat: removed",
        "MatrixCluster/lab: Deleting: confirmation that nothing of it is left",
        "MatrixCluster/lab: removed",
    ]
    assert managed.find(LAB) is managed.find(CHAT) is None


def test_down_again_is_no_error(empty: World, tmp_path: Path) -> None:
    result = run(empty, "down", write(tmp_path))

    assert (result.exit_code, result.stdout) == (Exit.OK, "MatrixCluster/lab was not there\nModelDeployment/chat was not there\n")


def test_down_by_name_and_as_json(managed: World) -> None:
    *changes, last = records(run(managed, "down", "mxd/chat", "-o", "json"))

    assert [change["state"] for change in changes] == ["done"]
    assert last["objects"] == ["ModelDeployment/chat"]
    assert managed.find(LAB) is not None


def test_down_that_takes_too_long_goes_on(managed: World) -> None:
    managed.keep(LAB)
    result = run(managed, "down", "mxc/lab", "--timeout", "1")

    assert result.exit_code == Exit.TIMEOUT
    assert "MatrixCluster/lab is still there" in result.stderr


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["up", "{file}"], "`{matrix} wait MatrixCluster/lab ModelDeployment/chat`, `{matrix} get`, `{matrix} down MatrixCluster/lab"),
        (["wait", "mxd/chat"], "`{matrix} why ModelDeployment/chat`"),
        (["down", "mxc/lab"], "`{matrix} wait MatrixCluster/lab --for delete`"),
    ],
)
def test_ctrl_c_leaves_it_going_and_says_how_to_go_on(managed: World, tmp_path: Path, command: list[str], says: str) -> None:
    managed.keep(LAB)
    file = write(tmp_path)
    argv = [sys.executable, "-m", "matrix_cli", "--home", str(managed.home.root), *(word.format(file=file) for word in command)]
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stderr is not None
        while ": " not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(60) == Exit.INTERRUPTED

    assert told.splitlines()[-1].startswith("error: interrupted; it goes on in the background: ")
    assert says.format(matrix=f"matrix --home {managed.home.root}") in told
    assert "Traceback" not in told
    assert managed.find(LAB) is not None
