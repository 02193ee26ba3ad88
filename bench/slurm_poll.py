"""A look at Slurm's queue with 10,000 jobs in it, and what submitting and cancelling cost there, beside the bare commands and submitit,
where that is installed. Needs root: it brings up a Slurm of its own."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from bench.report import Row, paired_ratio, report
from matrix_slurm_bridge.slurm.commands import SlurmCommands
from matrix_slurm_bridge.slurm.names import JobTag
from matrix_slurm_bridge.slurm.port import Submission
from tests.lab.slurm.lab import SlurmLab
from tests.lab.slurm.needs import SlurmMissing

JOBS = int(os.environ.get("JOBS", "10000"))
OURS = 200
"""Of these; the others are somebody else's."""
RUNS = 15
SUBMISSIONS = 45
"""Of each way to submit: one differs from the next by more than the ways do."""
LIMITS = {"MaxJobCount": "20000", "SchedulerParameters": "batch_sched_delay=0,sched_interval=60,bf_interval=600,default_queue_depth=1"}
ROOT = Path(__file__).resolve().parents[1]
FILL = "for ((n = 0; n < $1; n++)); do sbatch --parsable --begin=now+1day --mem=1M -o /dev/null -J other --wrap true >/dev/null; done"


def submission(uid: str, index: int) -> Submission:
    """A job that waits."""
    tag = JobTag(uid, "gpu", index, 1, 1)
    given = (f"--job-name={tag.job_name}", f"--comment={tag.comment}", "--begin=now+1day", "--mem=1M", "--output=/dev/null")
    return Submission(tag, "\n".join(["#!/bin/bash", *(f"#SBATCH {one}" for one in given), "true\n"]))


def seconds(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def bare(*command: str, stdin: str = "") -> str:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    before = time.perf_counter()
    await work()
    return time.perf_counter() - before


async def inside() -> dict[str, list[float]]:
    """Runs as the user, on the login node."""
    uid, slurm = str(uuid.uuid4()), SlurmCommands()
    for index in range(OURS):
        await slurm.submit(submission(uid, index))
    assert len(await slurm.jobs()) == OURS
    found: dict[str, list[float]] = {name: [] for name in ("poll", "poll and places", "squeue", "cancel")}
    found |= await submissions(slurm, uid)
    for run in range(RUNS):
        found["poll"].append(await timed(slurm.jobs))
        found["poll and places"].append(await timed(SlurmCommands().jobs))
        found["squeue"].append(await asyncio.to_thread(seconds, partial(bare, "squeue", "--me")))
        job = next(job for job in await slurm.jobs() if job.tag.index == OURS + run)
        found["cancel"].append(await timed(partial(slurm.cancel, job)))
    return found


async def submissions(slurm: SlurmCommands, uid: str) -> dict[str, list[float]]:
    """Each way by turns, and each as often the first of a turn as the others."""
    found: dict[str, list[float]] = {"submit": [], "sbatch": [], "submitit": []}
    peer = submitit_job() if importlib.util.find_spec("submitit") else None
    ways = deque(name for name in found if peer or name != "submitit")
    for run in range(SUBMISSIONS):
        ours, script = submission(uid, OURS + run), submission(uid, OURS + SUBMISSIONS + run).script
        for way in ways:
            if way == "submit":
                found[way].append(await timed(partial(slurm.submit, ours)))
            else:
                work = partial(bare, "sbatch", "--parsable", stdin=script) if way == "sbatch" else peer
                assert work is not None
                found[way].append(await asyncio.to_thread(seconds, work))
        ways.rotate()
    return found


def submitit_job() -> Callable[[], object]:
    """Submits a function, without the pause that submitit makes between two submissions: it is none of the work."""
    submitit = importlib.import_module("submitit")

    executor = submitit.AutoExecutor(folder=str(Path.home() / "submitit"), cluster="slurm")
    executor._executor._throttling = 0.0
    executor.update_parameters(timeout_min=1, slurm_additional_parameters={"begin": "now+1day", "mem": "1M"})
    return lambda: executor.submit(len, "x")


def measured(lab: SlurmLab) -> dict[str, list[float]]:
    """Fills the queue and measures."""
    bob, alice = lab.users["bob"], lab.users["alice"]
    fill = lab.login.argv("/bin/bash", "-c", FILL, "fill", str((JOBS - OURS) // 4), user=bob)
    for process in [subprocess.Popen(fill) for _ in range(4)]:
        process.wait()
    environment = {"PYTHONPATH": ":".join([str(ROOT), *extra_path()])}
    command = lab.login.argv(sys.executable, "-m", "bench.slurm_poll", "inside", user=alice, environment=environment)
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))


def extra_path() -> list[str]:
    """Where submitit is, if it is outside of this environment."""
    found = importlib.util.find_spec("submitit")
    return [str(Path(found.origin).parents[1])] if found and found.origin else []


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            with SlurmLab(Path(directory) / "lab", 1, extra=LIMITS) as lab:
                found = {name: tuple(values) for name, values in measured(lab).items()}
        except SlurmMissing as missing:
            print(f"slurm_poll is left out: {missing}")
            return
    poll = sorted(found["poll"])[RUNS // 2]
    rows = [
        Row(f"a look, {OURS} of {JOBS} jobs ours", found["poll"], "s", "< 1 s", poll < 1),
        Row("a look, and the places in the line", found["poll and places"], "s"),
        Row("squeue --me", found["squeue"], "s"),
        Row("a submission", found["submit"], "s"),
        Row("sbatch", found["sbatch"], "s"),
        paired_ratio("a submission / sbatch", found["submit"], found["sbatch"], "<= 1.2 x", at_most=1.2),
        Row("a cancellation", found["cancel"], "s"),
    ]
    if found["submitit"]:
        rows.append(paired_ratio("a submission / submitit", found["submit"], found["submitit"], "<= 1 x", at_most=1.0))
    report("slurm_poll", rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        print(json.dumps(asyncio.run(inside())))
    else:
        main()
