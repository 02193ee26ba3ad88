"""Telling one process from another that has its pid."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from matrix_store.process_identity import ProcessIdentity, identify, start_ticks

STAT = "{pid} ({name}) {state} 1 1 1 0 -1 4194560 100 0 0 0 1 1 0 0 20 0 3 0 {start} 1000 100 18446744073709551615 1 1 0"


@pytest.mark.parametrize("name", ["python3", "a b", "x) R 1 1", "((", ") Z ("])
def test_the_start_time_is_read_behind_any_name(name: str) -> None:
    assert start_ticks(STAT.format(pid=7, name=name, state="S", start=4711)) == 4711


@pytest.mark.parametrize("state", ["Z", "X", "x"])
def test_what_has_ended_has_no_start_time(state: str) -> None:
    assert start_ticks(STAT.format(pid=7, name="gone", state=state, start=4711)) is None


def fake_proc(root: Path, pid: int, start: int, boot: str = "boot-1") -> Path:
    (root / str(pid)).mkdir(parents=True, exist_ok=True)
    (root / str(pid) / "stat").write_text(STAT.format(pid=pid, name="x", state="S", start=start))
    random = root / "sys" / "kernel" / "random"
    random.mkdir(parents=True, exist_ok=True)
    (random / "boot_id").write_text(boot + "\n")
    return root


def test_a_reused_pid_and_another_boot_are_other_processes(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, 7, 100)
    process = identify(7, proc)
    assert process == ProcessIdentity(7, 100, "boot-1")
    assert process.alive(proc)
    assert not process.alive(fake_proc(tmp_path, 7, 101))
    assert not process.alive(fake_proc(tmp_path, 7, 100, "boot-2"))
    assert identify(8, proc) is None


def test_a_real_process_is_alive_until_it_ends_even_unreaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = identify(process.pid)
        assert identity is not None and identity.alive()
        assert not replace(identity, start_ticks=identity.start_ticks - 1).alive()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now: it is not reaped by this
        assert not identity.alive()
