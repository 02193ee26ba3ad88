"""One command: run in an environment of its own, with a deadline of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matrix_slurm_bridge.slurm.port import SlurmUnreachable

_KILL_SECONDS = 5.0
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LD_LIBRARY_PATH", "SLURM_CONF")
"""Of this process's environment. Nothing else: SQUEUE_*, SBATCH_* and the like are settings of the commands, and sbatch hands all of it on
to the job."""


def environment(of: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the commands get, out of `of` (default: this process's)."""
    source = os.environ if of is None else of
    return {name: source[name] for name in _KEPT if name in source}


@dataclass(frozen=True)
class Done:
    """A command that ended by itself."""

    status: int
    output: str
    complaint: str


async def run(argv: Sequence[str], env: Mapping[str, str], seconds: float, stdin: str = "") -> Done:
    """Raises SlurmUnreachable when it is not there, or has not ended within so many seconds: then it, and what it started, is killed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise SlurmUnreachable(f"{argv[0]} can't be run: {error.strerror}; is this a login node, with Slurm's commands on PATH?") from error
    try:
        async with asyncio.timeout(seconds):
            output, complaint = await process.communicate(stdin.encode())
    except TimeoutError:
        raise SlurmUnreachable(f"{argv[0]} did not answer within {seconds:g} s") from None
    finally:
        await _end(process)
    assert process.returncode is not None
    return Done(process.returncode, output.decode(errors="replace"), complaint.decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kills it with its group, unless it has ended; one that the kernel can't let go yet is not waited for for ever."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _KILL_SECONDS)
