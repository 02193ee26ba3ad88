"""What this machine has to give: processors, memory, disks, limits, GPUs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from matrix_cli.doctor.findings import GIB, Finding, gib, ok, problem, warning

LEAST_MEMORY = 2 * GIB
GOOD_MEMORY = 6 * GIB
GOOD_SHARED_MEMORY = GIB
GOOD_OPEN_FILES = 65_536
"""What Ray asks for (ray/_private/services.py warns below it)."""
GOOD_PROCESSES = 4_096
FULL = 0.95
"""Ray stops spilling and creating objects on a disk that is fuller (local_fs_capacity_threshold)."""
GPU_SECONDS = 5.0


class Disk(NamedTuple):
    """One place and what it must hold."""

    subject: str
    path: Path
    least: int
    good: int


def look(home: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Raises ImportError where the extra `operator` is not installed."""
    from matrix_operator.backends.local import machine

    found = machine.look(environ)
    yield judge_cpus(found.cpus, os.cpu_count() or found.cpus)
    yield judge_memory(found.memory, _total_memory())
    yield judge_shared_memory(found.shared_memory)
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matrix"
    for disk in (
        Disk("state disk", home, GIB // 5, 2 * GIB),
        Disk("model cache", cache, GIB, 20 * GIB),
        Disk("/tmp", Path("/tmp"), GIB // 2, 5 * GIB),
    ):
        yield _disk(disk)
    yield judge_limit("open files", resource.getrlimit(resource.RLIMIT_NOFILE)[1], GOOD_OPEN_FILES, "ulimit -n")
    yield judge_limit("processes", resource.getrlimit(resource.RLIMIT_NPROC)[0], GOOD_PROCESSES, "ulimit -u")
    yield _gpus(found.gpu_ids, environ)


def judge_cpus(usable: int, present: int) -> Finding:
    fact = f"{usable}" if usable == present else f"{usable} of {present} (affinity or cgroup)"
    if usable < 2:
        return warning("cpus", fact, "Ray's own processes and a model share it: expect slow starts")
    return ok("cpus", fact)


def judge_memory(available: int, total: int) -> Finding:
    """`available` is within the cgroup's limit."""
    fact = f"{gib(available)} available of {gib(total)}"
    if available < LEAST_MEMORY:
        return problem("memory", fact, "too little for a cluster; end what uses it, or raise the container's limit")
    if available < GOOD_MEMORY:
        return warning("memory", fact, "enough for a small model; ask for little in the manifest's resources.memory")
    return ok("memory", fact)


def judge_shared_memory(free: int) -> Finding:
    fact = f"{gib(free)} free"
    if free < GOOD_SHARED_MEMORY:
        return warning("/dev/shm", fact, "Ray keeps objects there and falls back to the disk: enlarge it (docker run --shm-size 4g)")
    return ok("/dev/shm", fact)


def _disk(disk: Disk) -> Finding:
    place = next(path for path in (disk.path, *disk.path.parents) if path.exists())
    usage = shutil.disk_usage(place)
    return judge_disk(disk, usage.free, usage.used / max(1, usage.used + usage.free), writable=os.access(place, os.W_OK | os.X_OK))


def judge_disk(disk: Disk, free: int, used: float, *, writable: bool) -> Finding:
    """`used` is a part of 1, as df shows it."""
    fact = f"{gib(free)} free ({disk.path})"
    if not writable:
        return problem(disk.subject, f"{disk.path} can't be written to", "give it to yourself, or choose another place")
    if free < disk.least:
        return problem(disk.subject, fact, "make room")
    if used > FULL:
        return warning(disk.subject, f"{fact}, {used:.0%} full", f"make room: Ray holds back on a disk that is fuller than {FULL:.0%}")
    if free < disk.good:
        return warning(disk.subject, fact, "make room before it is needed")
    return ok(disk.subject, fact)


def judge_limit(subject: str, limit: int, good: int, command: str) -> Finding:
    if limit == resource.RLIM_INFINITY:
        return ok(subject, "no limit")
    if limit < good:
        return warning(subject, f"at most {limit}", f"raise it (`{command} {good}`, or /etc/security/limits.conf); Ray needs many")
    return ok(subject, f"at most {limit}")


def _gpus(devices: tuple[str, ...], environ: Mapping[str, str]) -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return judge_gpus(devices, None, environ)
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=GPU_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return problem("gpu", f"nvidia-smi fails: {error}", "repair the driver, or set CUDA_VISIBLE_DEVICES= to do without")
    return judge_gpus(devices, done.stdout.strip().splitlines(), environ)


def judge_gpus(devices: tuple[str, ...], told: list[str] | None, environ: Mapping[str, str]) -> Finding:
    """`devices` are those that clusters may use; `told` is what nvidia-smi lists, None without it."""
    if not devices and not told:
        return ok("gpu", "none; models run on the processors")
    if told is None:
        return warning("gpu", f"{len(devices)} device files, but no nvidia-smi", "install the driver's tools to see whether they work")
    if not devices:
        why = "CUDA_VISIBLE_DEVICES hides them" if "CUDA_VISIBLE_DEVICES" in environ else "they have no device files here"
        return warning("gpu", f"{len(told)} present, none usable: {why}", "unset CUDA_VISIBLE_DEVICES, or give the container its GPUs")
    return ok("gpu", f"{len(devices)} usable of {len(told)}: {told[0]}")


def _total_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
