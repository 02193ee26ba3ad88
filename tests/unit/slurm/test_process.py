"""Commands of this machine stand in for Slurm's."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import psutil
import pytest

from matrix_slurm_bridge.slurm import process
from matrix_slurm_bridge.slurm.port import SlurmUnreachable
from tests.lab.api import wait_for

ENV = {"PATH": "/usr/bin:/bin"}


def test_a_command_that_ends_by_itself_is_told_with_all_that_it_wrote() -> None:
    done = asyncio.run(process.run(["sh", "-c", "cat; echo no >&2; exit 3"], ENV, 30, "in\n"))
    assert (done.status, done.output, done.complaint) == (3, "in\n", "no\n")


def test_one_that_reads_nothing_of_a_long_script_is_no_error() -> None:
    assert asyncio.run(process.run(["true"], ENV, 30, "x" * 10**6)).status == 0


def test_one_that_hangs_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 600 & echo $! $$ > {pids}; wait"
    before = time.monotonic()
    with pytest.raises(SlurmUnreachable, match="sh did not answer within 3 s"):
        asyncio.run(process.run(["sh", "-c", script], ENV, 3))
    assert time.monotonic() - before < 60
    left, _ = pids.read_text().split()
    wait_for(lambda: ended(int(left)), "what it has started is gone", 60)
    assert ended(int(pids.read_text().split()[1]))


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_cancelled_call_kills_its_command(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    async def cancelled() -> None:
        task = asyncio.create_task(process.run(["sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"], ENV, 600))
        await asyncio.to_thread(wait_for, pid.exists, "it runs", 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert ended(int(pid.read_text()))


def test_one_that_is_not_there() -> None:
    with pytest.raises(SlurmUnreachable, match="squeue can't be run"):
        asyncio.run(process.run(["squeue"], {"PATH": "/nowhere"}, 1))


def test_little_is_kept_of_the_environment() -> None:
    given = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SQUEUE_FORMAT": "%i", "SBATCH_PARTITION": "x", "TOKEN": "secret"}
    assert process.environment(given) == {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf"}
    assert process.environment()["PATH"] == os.environ["PATH"]
