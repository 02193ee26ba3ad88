"""Which process: a pid alone may belong to another one tomorrow. Pid, start time and boot id together never do.

Facts: proc(5), /proc/PID/stat (field 3 is the state, field 22 the start in clock ticks since boot: no clock setting moves it).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_GONE_STATES = frozenset("ZXx")
"""A zombie has ended: it only waits for its parent to read how."""


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, told apart from every other that ever ran on this machine."""

    pid: int
    start_ticks: int
    boot_id: str

    def alive(self, proc: Path = PROC) -> bool:
        """Whether this very process is still running. Raises OSError when /proc can't tell."""
        return identify(self.pid, proc) == self


def identify(pid: int, proc: Path = PROC) -> ProcessIdentity | None:
    """The process that has this pid now; None if none has, or only a zombie. Raises OSError when /proc can't tell."""
    try:
        stat = (proc / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    start = start_ticks(stat)
    return None if start is None else ProcessIdentity(pid, start, boot_id(proc))


def start_ticks(stat: str) -> int | None:
    """The start time out of the text of /proc/PID/stat; None for a process that has ended."""
    # Field 2, the name, is in parentheses and may hold spaces and parentheses itself.
    fields = stat[stat.rindex(")") + 1 :].split()
    return None if fields[0] in _GONE_STATES else int(fields[19])


def boot_id(proc: Path = PROC) -> str:
    """A random id that the kernel draws at each boot."""
    return (proc / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
