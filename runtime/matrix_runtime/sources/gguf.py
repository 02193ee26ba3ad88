"""A GGUF file becomes safetensors, once for each content and node.

The conversion runs in a process of its own (it takes gigabytes and half a minute), writes beside the final place and is renamed when
complete, so whatever stands in the final place is whole. A file lock lets two replicas on a node share one conversion; the kernel drops
it with its holder.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from matrix_proto.state import Progress, StartPhase
from matrix_runtime.errors import StartFailed
from matrix_runtime.output import Output
from matrix_runtime.sources.port import Report

FORMAT = "v1"
"""Part of the cache's key: changed when the conversion itself changes."""
CONVERTER = ("-m", "matrix_runtime.sources.gguf_convert")
"""Arguments for Python; those of the file and of the directory to fill come after them."""
LOOK_SECONDS = 0.5
LAST_LINES = 20


async def converted(file: Path, cache: Path, report: Report, environment: dict[str, str], converter: tuple[str, ...] = CONVERTER) -> Path:
    """The directory that holds the converted model. Raises StartFailed."""
    digest = await asyncio.to_thread(_digest, file)
    target = cache / "gguf" / f"{file.stem}-{digest[:16]}-{FORMAT}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(target.name + ".lock"))
    await _acquire(lock, file, report)
    try:
        if not target.is_dir():
            await _convert(file, target, report, environment, converter)
    finally:
        lock.release()
    return target


async def _acquire(lock: FileLock, file: Path, report: Report) -> None:
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            report(StartPhase.CONVERTING, f"another replica on this node is converting {file.name}", None)
            await asyncio.sleep(LOOK_SECONDS)


async def _convert(file: Path, target: Path, report: Report, environment: dict[str, str], converter: tuple[str, ...]) -> None:
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a holder of the lock that was killed
    partial.mkdir()
    output = Output()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", *converter, str(file), str(partial)),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    telling = asyncio.create_task(_tell(file, partial, report))
    try:
        await output.copy(process.stdout)
        code = await process.wait()
    finally:
        telling.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise StartFailed(f"{file.name} could not be converted to safetensors (exit code {code})", output.last(LAST_LINES))
    partial.rename(target)


async def _tell(file: Path, partial: Path, report: Report) -> None:
    started = time.monotonic()
    while True:
        written = _size(partial)
        message = f"converting {file.name} ({_size(file) // 1_000_000} MB) to safetensors, {time.monotonic() - started:.0f} s"
        report(StartPhase.CONVERTING, message, Progress(done=written) if written else None)
        await asyncio.sleep(LOOK_SECONDS)


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a directory."""
    return sum(entry.stat().st_size for entry in path.glob("*")) if path.is_dir() else path.stat().st_size


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
