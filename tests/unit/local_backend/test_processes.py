"""Whose a process is, and that no other is ever signalled."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from matrix_operator.backends.local import procfs
from matrix_operator.backends.local.ending import Shutdown, kill_all, send
from matrix_operator.backends.local.orphans import end_orphan, find_orphans
from matrix_operator.backends.local.procfs import MARKER_HOME, MARKER_PART, MARKER_UID, Processes, ProcessesUnreadable
from matrix_store.home import Home
from matrix_store.process_identity import identify

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def uid() -> str:
    return f"test-{os.getpid()}-{time.time_ns()}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes, and ends them by their handles."""
    started: list[subprocess.Popen[bytes]] = []

    def start(marker: str | None, *argv: str, home: str = "/nowhere", part: str = "raylet") -> subprocess.Popen[bytes]:
        environment = dict(os.environ) | ({MARKER_UID: marker, MARKER_HOME: home, MARKER_PART: part} if marker else {})
        started.append(subprocess.Popen(argv or ("sleep", "60"), env=environment, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def fake_process(
    proc: Path,
    pid: int,
    *,
    state: str = "S",
    name: str = "sleep",
    environ: str = f"{MARKER_UID}=u\0",
    argv: str = "sleep\x0060\0",
    flags: int = 0,
) -> None:
    directory = proc / str(pid)
    directory.mkdir(parents=True)
    (directory / "stat").write_text(f"{pid} ({name}) {state} 1 {pid} {pid} 0 0 {flags} " + "0 " * 12 + "7 0 0\n")
    (directory / "environ").write_text(environ)
    (directory / "cmdline").write_text(argv)
    boot = proc / "sys" / "kernel" / "random" / "boot_id"
    boot.parent.mkdir(parents=True, exist_ok=True)
    boot.write_text("boot\n")


def test_a_process_with_the_marker_is_found_whatever_its_name(tmp_path: Path) -> None:
    fake_process(tmp_path, 10, name="a) Z (b", environ=f"A=1\0{MARKER_UID}=u\0{MARKER_HOME}=/h\0{MARKER_PART}=gcs\0")
    fake_process(tmp_path, 11, environ=f"{MARKER_UID}=other\0")
    fake_process(tmp_path, 12, environ=f"X{MARKER_UID}=u\0NO={MARKER_UID}=u\0")
    (found,) = Processes(tmp_path).marked("u")
    assert (found.identity.pid, found.identity.start_ticks, found.uid, found.home, found.part) == (10, 7, "u", "/h", "gcs")
    assert found.leads_session and found.argv == ("sleep", "60")
    assert len(Processes(tmp_path).marked()) == 2


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_zombie_is_dead(tmp_path: Path, state: str) -> None:
    fake_process(tmp_path, 10, state=state)
    assert Processes(tmp_path).marked("u") == []


def test_an_unreadable_proc_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(ProcessesUnreadable, match="can't be read"):
        Processes(tmp_path / "missing").marked("u")


def test_a_pid_that_belongs_to_another_process_now_is_not_signalled(start: Start, uid: str) -> None:
    process = start(uid)
    identity = identify(process.pid)
    assert identity is not None
    earlier = replace(identity, start_ticks=identity.start_ticks - 1)
    before_reboot = replace(identity, boot_id="another")
    for wrong in (earlier, before_reboot):
        assert not send(Processes(), wrong, uid, signal.SIGKILL)
    assert process.poll() is None
    assert send(Processes(), identity, uid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL


def test_a_kernel_without_process_handles_is_served_too(start: Start, uid: str) -> None:
    def missing(pid: int) -> int:
        raise OSError(errno.ENOSYS, "no pidfd_open")

    process, other = start(uid), start(None)
    for target, ours in ((process, True), (other, False)):
        identity = identify(target.pid)
        assert identity is not None and send(Processes(), identity, uid, signal.SIGKILL, missing) is ours
    assert process.wait(30) == -signal.SIGKILL and other.poll() is None


def test_a_process_is_found_from_the_moment_of_its_start(start: Start, uid: str) -> None:
    for count in range(1, 21):
        start(uid)
        assert len(Processes().marked(uid)) == count


def test_a_process_that_the_kernel_leaves_lying_in_the_midst_of_its_start_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_process(tmp_path, 10, environ="", argv="")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) > 0.5:
            (tmp_path / "10" / "environ").write_text(f"{MARKER_UID}=u\0")

    monkeypatch.setattr(procfs.time, "sleep", sleep)
    assert [process.identity.pid for process in Processes(tmp_path).marked("u")] == [10]


def test_one_that_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory goes before its files, and a GPU's take seconds."""
    fake_process(tmp_path, 10, environ="", argv="", flags=0x4)
    monkeypatch.setattr(procfs.time, "sleep", lambda seconds: pytest.fail("it was waited for"))
    assert Processes(tmp_path).marked("u") == []


@pytest.mark.parametrize("marker", [None, "another-cluster"])
def test_a_process_without_the_clusters_marker_is_never_signalled(start: Start, uid: str, marker: str | None) -> None:
    process = start(marker)
    identity = identify(process.pid)
    assert identity is not None and not send(Processes(), identity, uid, signal.SIGKILL)
    assert process.poll() is None


def test_a_process_that_is_gone_is_not_signalled(start: Start, uid: str) -> None:
    process = start(uid)
    identity = identify(process.pid)
    process.kill()
    process.wait()
    assert identity is not None and not send(Processes(), identity, uid, signal.SIGKILL)


def test_killing_takes_the_chosen_part_with_children_that_changed_their_session(start: Start, uid: str) -> None:
    family = "import subprocess, time; subprocess.Popen(['sleep', '61'], start_new_session=True); time.sleep(60)"
    start(uid, sys.executable, "-c", family)
    other = start(uid, part="gcs")
    deadline = time.monotonic() + 60
    while len(Processes().marked(uid)) < 3:
        assert time.monotonic() < deadline
    assert kill_all(Processes(), uid, lambda process: process.part == "raylet", 30) == []
    assert [process.identity.pid for process in Processes().marked(uid)] == [other.pid]


def test_what_does_not_end_when_asked_is_killed_after_the_grace(start: Start, uid: str) -> None:
    stubborn = start(
        uid, sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", part="gcs"
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    clock = [now]
    shutdown = Shutdown(Processes(), lambda: clock[0])
    assert len(shutdown.step(uid, 0.3)) == 1 and stubborn.poll() is None
    clock[0] = now + timedelta(seconds=3)
    assert shutdown.step(uid, 30) == []
    assert stubborn.wait(30) == -signal.SIGKILL


def test_an_orphan_is_found_by_its_missing_record_and_ended(start: Start, uid: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    process = start(uid, home=str(tmp_path))
    (orphan,) = [orphan for orphan in find_orphans() if orphan.uid == uid]
    assert (orphan.home, orphan.pids, orphan.what) == (str(tmp_path), (process.pid,), "1 processes (raylet)")

    home.cluster(uid).mkdir(parents=True)
    assert uid not in {orphan.uid for orphan in find_orphans()}
    assert not end_orphan(uid) and process.poll() is None

    home.cluster(uid).rmdir()
    assert end_orphan(uid) and process.wait(30) is not None
