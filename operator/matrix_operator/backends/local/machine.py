"""What this machine has to give, as far as this process may use it."""

from __future__ import annotations

import importlib.metadata
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_MEMORY_FILES = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
"""Limit and use by controller: cgroup v2 (all in one), v1 (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst)."""


@dataclass(frozen=True)
class Machine:
    cpus: int
    """Cores, by affinity and cgroup quota."""
    memory: int
    """Bytes that are available now, within the cgroup's limit."""
    shared_memory: int
    """Free bytes in /dev/shm."""
    gpu_ids: tuple[str, ...]
    """As CUDA_VISIBLE_DEVICES names them."""
    ray_version: str | None
    """None if Ray is not installed."""


def look(environ: Mapping[str, str]) -> Machine:
    """Takes milliseconds; imports nothing of Ray's."""
    return Machine(
        cpus=_cpus(),
        memory=min(psutil.virtual_memory().available, *_cgroup_memory_left()),
        shared_memory=_free_bytes("/dev/shm"),
        gpu_ids=gpu_ids(environ),
        ray_version=_ray_version(),
    )


def gpu_ids(environ: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Those of CUDA_VISIBLE_DEVICES, else NVIDIA's device files."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(part.strip() for part in visible.split(",") if part.strip() and part.strip() != "-1")
    numbers = (re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*"))
    return tuple(str(number) for number in sorted(int(match[1]) for match in numbers if match))


def _cpus() -> int:
    quotas = [quota for directory in _own_cgroups("cpu") if (quota := cpu_quota(directory)) is not None]
    return min([len(os.sched_getaffinity(0)), *(max(1, math.floor(quota)) for quota in quotas)])


def cpu_quota(directory: Path) -> float | None:
    """Cores that a cgroup may use (v2: cpu.max, v1: cpu.cfs_*); None without a limit."""
    values = (_read(directory / "cpu.max") or f"{_read(directory / 'cpu.cfs_quota_us')} {_read(directory / 'cpu.cfs_period_us')}").split()
    if len(values) != 2 or not all(value.isdecimal() for value in values):
        return None  # "max 100000", "-1 100000", or no such files
    return int(values[0]) / int(values[1])


def _cgroup_memory_left() -> list[int]:
    lefts = []
    for controller, files in _MEMORY_FILES.items():
        lefts += [left for directory in _own_cgroups(controller) if (left := memory_left(directory, *files)) is not None]
    return lefts


def memory_left(directory: Path, limit_file: str, use_file: str) -> int | None:
    """Bytes that a cgroup may still take, counting its file cache as free; None without a limit."""
    limit, use = _read(directory / limit_file), _read(directory / use_file)
    if not limit.isdecimal() or not use.isdecimal():
        return None
    cache = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(directory / "memory.stat"), re.MULTILINE)
    return max(0, int(limit) - int(use) + (int(cache[1]) if cache else 0))


def _own_cgroups(controller: str) -> list[Path]:
    """The directories of this process's cgroup and of those above it: each may set a limit."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            base = _CGROUPS / controller if controllers else _CGROUPS
            own = base / path.lstrip("/")
            return [own, *(parent for parent in own.parents if parent.is_relative_to(base))]
    return []


def _read(path: Path) -> str:
    """Its text, stripped; empty where the kernel has no such file."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _free_bytes(path: str) -> int:
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _ray_version() -> str | None:
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return None
